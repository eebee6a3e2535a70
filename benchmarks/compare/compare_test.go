package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/against"
)

func TestWrongCallIsToldInOneLineAndExitsWith2(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ args, want string }{
		{"-bogus", "compare: flag provided but not defined: -bogus; -h lists the flags\n"},
		{"squid", "compare: unknown argument \"squid\"; -h lists the flags\n"},
		{"-against HEAD more", "compare: unknown argument \"more\"; -h lists the flags\n"},
		{"-rounds many", "compare: invalid value \"many\" for flag -rounds: parse error; -h lists the flags\n"},
		{"-rounds 0", "compare: -rounds 0: it is 1 to 100; -h lists the flags\n"},
		{"-rounds 1000", "compare: -rounds 1000: it is 1 to 100; -h lists the flags\n"},
		{"-against HEAD -rounds 1", "compare: -rounds 1: it is 2 to 100; -h lists the flags\n"},
		{"-scale NaN", "compare: -scale NaN: it is above 0 and at most 10; -h lists the flags\n"},
		{"-against HEAD -limit 0", "compare: -limit 0: it is above 0; -h lists the flags\n"},
		{"-limit 2", "compare: -limit is for -against; -h lists the flags\n"},
		{"-quick", "compare: -quick is for -against; -h lists the flags\n"},
		{"-against HEAD -peers Squid", "compare: -peers is not for -against, which starts none; -h lists the flags\n"},
		{"-against=", "compare: -against: no revision; -h lists the flags\n"},
	} {
		var out, complaints bytes.Buffer
		code := program(strings.Fields(c.args), &out, &complaints)
		if code != 2 || complaints.String() != c.want || out.Len() > 0 {
			t.Errorf("%s: exit %d, %q, %q; want %q", c.args, code, complaints.String(), out.String(), c.want)
		}
	}
}

func TestHelpListsTheFlags(t *testing.T) {
	t.Parallel()
	var out, complaints bytes.Buffer
	if code := program([]string{"-h"}, &out, &complaints); code != 0 || complaints.Len() > 0 {
		t.Errorf("exit %d, %s", code, complaints.String())
	}
	for _, name := range []string{"-against REVISION", "-limit", "-quick", "-rounds", "-only", "-out FOLDER"} {
		if !strings.Contains(out.String(), "  "+name) {
			t.Errorf("the help does not list %s:\n%s", name, out.String())
		}
	}
}

func TestUnknownRevisionIsToldInOneLine(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("measuring needs Linux")
	}
	if _, err := os.Stat("../../.git"); err != nil {
		t.Skip("this is no git checkout")
	}
	var out, complaints bytes.Buffer
	code := program([]string{"-against", "there-is-no-such-revision"}, &out, &complaints)
	if want := "compare: unknown revision \"there-is-no-such-revision\"\n"; code != 1 || complaints.String() != want || out.Len() > 0 {
		t.Errorf("exit %d, %q, %q; want %q", code, complaints.String(), out.String(), want)
	}
}

func TestExitStatusSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	over := &against.Result{Limit: 1.03, Figures: []against.Figure{{Name: "GET"}}}
	over.Figures[0].Ratio.Low = 1.04
	for want, err := range map[int]error{
		0: (&against.Result{Limit: 1.03, Figures: []against.Figure{{Name: "GET"}}}).Failure(),
		1: errors.New("no"),
		2: fmt.Errorf("calling: %w", &usageError{"no"}),
		3: over.Failure(),
	} {
		if got := status(err); got != want {
			t.Errorf("%v: exit %d, want %d", err, got, want)
		}
	}
}

func TestMicroBenchmarksAreOfPackagesThatExist(t *testing.T) {
	t.Parallel()
	for _, m := range micro {
		tests, err := filepath.Glob(filepath.Join("../..", m.pkg, "*_test.go"))
		if err != nil || len(tests) == 0 {
			t.Errorf("%s has no tests: %v", m.pkg, err)
		}
	}
}
