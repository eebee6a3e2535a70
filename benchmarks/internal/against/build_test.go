package against

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// repository makes a git repository with one commit for each text, in which a
// program says its version and the text.
func repository(t *testing.T, format string, texts ...string) (dir string, commits []string) {
	t.Helper()
	dir = t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=a", "-c", "user.email=a@b.test", "-c", "commit.gpgsign=false"}, args...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q")
	write(t, dir, "go.mod", "module example.test/program\n\ngo 1.24\n")
	for _, text := range texts {
		write(t, dir, "cmd/proxy/main.go", strings.ReplaceAll(format, "TEXT", text))
		git("add", "-A")
		git("commit", "-q", "-m", text)
		commits = append(commits, git("rev-parse", "HEAD"))
	}
	return dir, commits
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

const (
	speaking  = "package main\n\nimport \"fmt\"\n\nvar version string\n\nfunc main() { fmt.Println(\"proxy\", version, \"TEXT\") }\n"
	forgetful = "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"proxy devel TEXT\") }\n"
	broken    = "package main\n\nfunc main() { TEXT }\n"
)

func TestTheTwoBuildsAreOfTheRevisionAndOfTheWorkingTree(t *testing.T) {
	t.Parallel()
	repo, commits := repository(t, speaking, "first", "second")
	write(t, repo, "cmd/proxy/main.go", strings.ReplaceAll(speaking, "TEXT", "third"))
	out := t.TempDir()
	before, after, err := buildBoth(context.Background(), filepath.Join(repo, "cmd"), "HEAD~1", out)
	if err != nil {
		t.Fatal(err)
	}
	if before.String() != commits[0][:12] || after.String() != commits[1][:12]+" with changes" {
		t.Errorf("they are called %s and %s; the commits are %q", before, after, commits)
	}
	for _, c := range []struct {
		build Build
		want  string
	}{{before, "proxy against-" + commits[0][:12] + " first"}, {after, "proxy against-" + commits[1][:12] + "-with-changes third"}} {
		if says, err := output(context.Background(), out, c.build.Binary, "version"); err != nil || says != c.want {
			t.Errorf("the build of %s says %q, %v; want %q", c.build, says, err, c.want)
		}
	}
	trees, err := output(context.Background(), repo, "git", "worktree", "list")
	if err != nil || strings.Contains(trees, "\n") {
		t.Errorf("a worktree is left: %v, %s", err, trees)
	}
}

func TestWhatCannotBeBuiltIsToldInOneLine(t *testing.T) {
	t.Parallel()
	good, _ := repository(t, speaking, "first")
	forgets, _ := repository(t, forgetful, "first")
	fails, commits := repository(t, broken, "undefined()")
	for _, c := range []struct{ name, repo, revision, want string }{
		{"unknown revision", good, "v9.9.9", `unknown revision "v9.9.9"`},
		{"a flag for a revision", good, "--all", `unknown revision "--all"`},
		{"a file for a revision", good, "HEAD:go.mod", `unknown revision "HEAD:go.mod"`},
		{"no checkout", t.TempDir(), "HEAD", "looking for the git checkout: "},
		{"no version", forgets, "HEAD", `says that it is "proxy devel first"`},
		{"no build", fails, "HEAD", "building " + commits[0][:12] + ": "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := buildBoth(context.Background(), c.repo, c.revision, t.TempDir())
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}
