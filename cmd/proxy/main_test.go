package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes the test binary the program: under the name "proxy", which is
// first in PATH, it is main and nothing else. What the tests start is therefore
// the code under test, built as the tests are built, with -race too. Under the name
// "crowd" it is callers of the program, as a process of their own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"proxy": main, "crowd": crowd})
}

// TestScripts runs the transcripts of testdata/script. They have two commands
// of their own:
//
//	exits CODE COMMAND...   runs a command that must end with exactly that code
//	expand FILE             puts values for $NAME into a file
//
// $DNS is the address of a name server that knows a few names, and $HTTP a server
// with two policies, a good one and an empty one.
func TestScripts(t *testing.T) {
	z := newZone(t)
	z.set("loopback.test", "127.0.0.1")
	z.set("private.test", "10.1.2.3")
	z.set("public.test", "1.1.1.1")
	z.set("mixed.test", "1.1.1.1", "10.1.2.3")
	z.set("metadata.test", "169.254.169.254")
	web := httptest.NewServer(http.FileServerFS(fstest.MapFS{
		"good.yaml": {Data: []byte("version: 1\nfunctions: {idle: {identify: {sources: [10.0.1.0/24]}, allow: []}}\n")},
		"bad.yaml":  {},
	}))
	t.Cleanup(web.Close)
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("DNS", z.addr)
			env.Setenv("HTTP", web.URL)
			env.Vars = append(env.Vars, exitAtOnce)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "expand": expand,
		},
	})
}

// exits runs a command and compares its exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("running %s: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// expand puts the script's variables into a file.
func expand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: expand FILE")
	}
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}
