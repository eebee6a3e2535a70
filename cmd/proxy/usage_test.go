package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// commands returns the root and every command of the tree.
func commands() []*cobra.Command {
	root := newRoot()
	root.InitDefaultHelpCmd()
	return append([]*cobra.Command{root}, root.Commands()...)
}

func TestEveryCommandHasExamplesThatItTakes(t *testing.T) {
	for _, c := range commands() {
		examples := 0
		for line := range strings.Lines(c.Example) {
			_, call, ok := strings.Cut(" "+line, " proxy ")
			if !ok {
				continue
			}
			examples++
			call, _, _ = strings.Cut(call, ">")
			root := newRoot()
			root.InitDefaultHelpCmd()
			found, args, err := root.Find(strings.Fields(strings.TrimSuffix(strings.TrimSpace(call), ")")))
			if err == nil {
				err = found.ParseFlags(args)
			}
			if err == nil && found.Args != nil {
				err = found.ValidateArgs(found.Flags().Args())
			}
			if err != nil || c.HasParent() && found.Name() != c.Name() {
				t.Errorf("%s: the example %q is taken by %q: %v", c.Name(), line, found.Name(), err)
			}
		}
		if examples == 0 {
			t.Errorf("%s has no example", c.Name())
		}
	}
}

// groff warns of what it does not understand, and shows the text as it was meant.
func TestManualReadsAsItIsMeant(t *testing.T) {
	needs(t, "groff", "--version")
	dir := t.TempDir()
	if code := execute(t.Context(), []string{"man", dir}, t.Output(), t.Output()); code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(pages) != len(commands()) {
		t.Fatalf("%d pages of %d commands, %v", len(pages), len(commands()), err)
	}
	for _, page := range pages {
		cmd := exec.Command("groff", "-man", "-Tutf8", "-ww", "-P-c", page)
		var warnings strings.Builder
		cmd.Stderr = &warnings
		text, err := cmd.Output()
		if err != nil || warnings.Len() > 0 {
			t.Errorf("%s: %v, %s", filepath.Base(page), err, warnings.String())
		}
		if filepath.Base(page) != "proxy-token.1" {
			continue
		}
		for _, want := range []string{
			"proxy-token - Make a token: the function's HTTPS_PROXY", "proxy token FUNCTION [--file FILE --add|--retire]",
			"--file FILE", "edit this policy FILE", "replaced in one step. So a token is rotated:",
			"proxy token billing-webhook --file egress.yaml --retire",
		} {
			if !strings.Contains(string(text), want) {
				t.Errorf("the page lacks %q:\n%s", want, text)
			}
		}
	}
}

// check and explain read what run reads.
func TestCheckAndExplainReadS3(t *testing.T) {
	b := newBucket(t)
	b.put(object, "version: 1\nfunctions: {idle: {identify: {sources: [10.0.1.0/24]}, allow: [{set: names}]}}\nsets: {names: {file: names.txt}}\n")
	b.put("policies/names.txt", "api.example.com\n")
	run := func(args ...string) (string, int) {
		cmd := exec.Command("proxy", args...)
		cmd.Env = append(cmd.Environ(), append(s3Environment(b), exitAtOnce, "AWS_CONTAINER_CREDENTIALS_FULL_URI="+b.server.URL+"/credentials")...)
		out, err := cmd.CombinedOutput()
		return string(out), exitCode(err)
	}
	if out, code := run("check", "s3://egress/"+object); out != "ok: 1 functions, 1 rules\n" || code != exitOK {
		t.Errorf("exit code %d, %s", code, out)
	}
	if out, code := run("explain", "--config", "s3://egress/"+object, "--function", "idle", "--offline", "https://api.example.com/"); code != exitOK || !strings.Contains(out, "\nallowed: ") {
		t.Errorf("exit code %d, %s", code, out)
	}
	if out, code := run("check", "s3://egress/policies/gone.yaml"); code != exitFailed || !strings.Contains(out, "there is no such object") {
		t.Errorf("exit code %d, %s", code, out)
	}
}
