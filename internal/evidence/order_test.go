package evidence_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
)

func TestFilesComeByTheirFirstRecord(t *testing.T) {
	lines := written(t, "b1")
	first, second, third := file(t, "c", lines[:3]...), file(t, "b", lines[3:5]...), file(t, "a", lines[5:]...)
	none, missing := file(t, "d", `{"level":"INFO"}`), filepath.Join(t.TempDir(), "missing")
	foreign := func(n int) string {
		return file(t, "e", strings.Repeat("{}\n", n)+lines[4])
	}
	found, late := foreign(999), foreign(1000)
	for name, c := range map[string]struct{ files, want []string }{
		"two":                           {[]string{second, first}, []string{first, second}},
		"three":                         {[]string{third, first, second}, []string{first, second, third}},
		"with standard input among two": {[]string{second, "-"}, []string{second, "-"}},
		"with standard input":           {[]string{third, "-", first}, []string{third, "-", first}},
		"what has no record is first":   {[]string{first, none, missing}, []string{none, missing, first}},
		"a record behind 999 lines":     {[]string{third, found, first}, []string{first, found, third}},
		"a record behind 1,000 lines":   {[]string{third, late, first}, []string{late, first, third}},
		"one":                           {[]string{first}, []string{first}},
	} {
		given := slices.Clone(c.files)
		if got := evidence.InTimeOrder(c.files); !slices.Equal(got, c.want) || !slices.Equal(c.files, given) {
			t.Errorf("%s: %v", name, got)
		}
	}
}
