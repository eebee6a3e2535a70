package repo

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
)

// The scripts of .ci tell what they cannot use in one line, by its name.
func TestScriptsTellBadArgumentsInOneLine(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	for _, tt := range []struct{ command, want string }{
		{".ci/platforms plan9/arm", "plan9/arm: the program is not built for that platform, but for linux/amd64, linux/arm64, darwin/amd64, darwin/arm64\n"},
		{".ci/platforms linux/386 linux/amd64", "linux/386: the program is not built for that platform, but for linux/amd64, linux/arm64, darwin/amd64, darwin/arm64\n"},
		{".ci/release", "usage: .ci/release FOLDER [VERSION]\n"},
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
