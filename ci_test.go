package repo

import (
	"errors"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const releaseUsage = "usage: .ci/release --names | [--quick] FOLDER | FOLDER VERSION\n"

// The scripts of .ci tell what they cannot use in one line, by its name.
func TestScriptsTellBadArgumentsInOneLine(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	for _, tt := range []struct{ command, want string }{
		{".ci/platforms plan9/arm", "plan9/arm: the program is not built for that platform, but for linux/amd64, linux/arm64, darwin/amd64, darwin/arm64\n"},
		{".ci/platforms linux/386 linux/amd64", "linux/386: the program is not built for that platform, but for linux/amd64, linux/arm64, darwin/amd64, darwin/arm64\n"},
		{".ci/release", releaseUsage},
		{".ci/release --quick", releaseUsage},
		{".ci/release --quick " + t.TempDir() + " v1.2.3", releaseUsage},
		{".ci/images", "usage: .ci/images VERSION [IMAGE FOLDER]\n"},
		{".ci/images v1.2.3 ghcr.io/owner/repository", "usage: .ci/images VERSION [IMAGE FOLDER]\n"},
		{".ci/release .", ".: the folder is not empty\n"},
		{".ci/release " + t.TempDir() + " 1.0", "1.0: not a version, which is like v1.2.3\n"},
		{".ci/release " + t.TempDir() + " v99.0.0", "v99.0.0: CHANGELOG.md has no section \"## [99.0.0]\"\n"},
	} {
		args := strings.Fields(tt.command)
		cmd := exec.Command("bash", args...)
		var said strings.Builder
		cmd.Stdout, cmd.Stderr = &said, &said
		err := cmd.Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 || said.String() != tt.want {
			t.Errorf("%s: %v, said %q, want %q", tt.command, err, said.String(), tt.want)
		}
	}
}

// What a workflow, or another script, would have to do as a script of .ci does is done by
// that script alone: written twice, one of them lacks what the other has learnt. Each row
// has a mark of it, and where that stands.
func TestWhatAScriptDoesStandsOnce(t *testing.T) {
	t.Parallel()
	places := []string{"Makefile"}
	for _, dir := range []string{".ci", ".github"} {
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				places = append(places, filepath.ToSlash(name))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct{ mark, in string }{
		{"-fuzz=", ".ci/fuzz"},
		{`^func \(Fuzz`, ".ci/fuzz"},
		{"GOOS=", ".ci/platforms .ci/release"},
		{"docker buildx build", ".ci/images"},
		{"cyclonedx-gomod@", ".ci/release"},
		{"-c checksums.txt", ".ci/snapshot"},
		{"staticcheck@", ".ci/run"},
		{"-benchtime=1x", ".ci/run"},
		{"-tags torture ./internal/torture -run", ".ci/run"},
		{"go test -count=1 -race", ".ci/race"},
	} {
		var in []string
		for _, name := range places {
			if strings.Contains(read(t, name), row.mark) {
				in = append(in, name)
			}
		}
		slices.Sort(in)
		if got := strings.Join(in, " "); got != row.in {
			t.Errorf("%s stands in %q, want %q", row.mark, got, row.in)
		}
	}
	for _, script := range []string{".ci/run", ".ci/fuzz", ".ci/long", ".ci/platforms", ".ci/race", ".ci/release", ".ci/snapshot", ".ci/images"} {
		used := script == ".ci/run"
		for _, name := range places {
			used = used || name != script && strings.Contains(read(t, name), script)
		}
		if !used {
			t.Errorf("nothing runs %s", script)
		}
	}
}
