package against

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build is one of the two builds.
type Build struct {
	Commit  string `json:"commit"`  // its first twelve digits
	Changed bool   `json:"changed"` // files differ from the commit, or are not in it
	Binary  string `json:"-"`
}

// String is the commit, and whether files differ from it.
func (b Build) String() string {
	if b.Changed {
		return b.Commit + " with changes"
	}
	return b.Commit
}

// buildBoth builds a revision and the working tree of a repository into a folder.
func buildBoth(ctx context.Context, repo, revision, dir string) (before, after Build, err error) {
	root, err := output(ctx, repo, "git", "rev-parse", "--show-toplevel")
	if err != nil {
		return before, after, fmt.Errorf("looking for the git checkout: %w", err)
	}
	commit := ""
	if !strings.HasPrefix(revision, "-") {
		commit, err = output(ctx, root, "git", "rev-parse", "--verify", "--quiet", revision+"^{commit}")
	}
	if err != nil || commit == "" {
		return before, after, fmt.Errorf("unknown revision %q", revision)
	}
	head, err := output(ctx, root, "git", "rev-parse", "--verify", "HEAD")
	if err != nil {
		return before, after, fmt.Errorf("reading the commit of the working tree: %w", err)
	}
	changes, err := output(ctx, root, "git", "status", "--porcelain")
	if err != nil {
		return before, after, fmt.Errorf("looking for changes in the working tree: %w", err)
	}
	before = Build{Commit: short(commit), Binary: filepath.Join(dir, "proxy-old")}
	after = Build{Commit: short(head), Changed: changes != "", Binary: filepath.Join(dir, "proxy-new")}
	if err := before.ofWorktree(ctx, root, filepath.Join(dir, "tree")); err != nil {
		return before, after, err
	}
	return before, after, after.from(ctx, root)
}

func short(commit string) string { return commit[:min(12, len(commit))] }

// ofWorktree builds the commit in a worktree of its own, which is gone afterwards.
func (b Build) ofWorktree(ctx context.Context, root, tree string) error {
	if _, err := output(ctx, root, "git", "worktree", "add", "--detach", tree, b.Commit); err != nil {
		return fmt.Errorf("making a worktree of %s: %w", b, err)
	}
	err := b.from(ctx, tree)
	// Whether the context is over or not.
	if _, gone := output(context.WithoutCancel(ctx), root, "git", "worktree", "remove", "--force", tree); err == nil && gone != nil {
		err = fmt.Errorf("removing the worktree of %s: %w", b, gone)
	}
	return err
}

// from builds what lies in a folder. The binary says by its version what it was
// built of, and is asked for it. -trimpath: the folders of the two differ, and
// nothing in the binaries should.
func (b Build) from(ctx context.Context, folder string) error {
	version := "against-" + strings.ReplaceAll(b.String(), " ", "-")
	if _, err := output(ctx, folder, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-X main.version="+version, "-o", b.Binary, "./cmd/proxy"); err != nil {
		return fmt.Errorf("building %s: %w", b, err)
	}
	says, err := output(ctx, folder, b.Binary, "version")
	if err != nil {
		return fmt.Errorf("asking the build of %s for its version: %w", b, err)
	}
	if !strings.Contains(says+" ", version+" ") {
		return fmt.Errorf("the build of %s says that it is %q", b, says)
	}
	return nil
}

// output runs a program in a folder and returns what it prints, without the
// space around it; an error has its complaint in one line. The compiler is the
// one that is installed, whatever a revision's go.mod wants.
func output(ctx context.Context, folder, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN=local")
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, strings.Join(strings.Fields(complaint.String()), " "))
	}
	return strings.TrimSpace(string(out)), nil
}
