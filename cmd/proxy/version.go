package main

import (
	"cmp"
	"fmt"
	"regexp"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is stamped by the linker (-X main.version=v1.2.3); otherwise it is
// the module's.
var version string

// newVersion returns the command that says what this is.
func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Say which version this is",
		Example: `  proxy version`,
		Args:    noArguments,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintln(cmd.OutOrStdout(), build())
		},
	}
}

// buildInfo is what a binary knows of itself.
type buildInfo struct{ version, commit string }

// String returns the line that version and --version print.
func (b buildInfo) String() string {
	return fmt.Sprintf("proxy %s commit %s %s %s/%s", b.version, b.commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// build reads the build information that the go command leaves in the binary.
func build() buildInfo {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return buildFrom(version, info)
}

// pseudo is the end of a version that go install makes of a commit without a tag.
var pseudo = regexp.MustCompile(`[-.][0-9]{14}-([0-9a-f]{12})(\+|$)`)

// buildFrom returns what stamped, the version of the linker, and the build
// information say. What go install has built from a module has no repository
// beside it: its commit, if anywhere, is in its version.
func buildFrom(stamped string, info *debug.BuildInfo) buildInfo {
	b := buildInfo{version: cmp.Or(stamped, info.Main.Version), commit: "unknown"}
	if m := pseudo.FindStringSubmatch(info.Main.Version); m != nil {
		b.commit = m[1]
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.commit = s.Value[:min(12, len(s.Value))]
		}
	}
	if b.version == "" || b.version == "(devel)" {
		b.version = "devel"
	}
	return b
}
