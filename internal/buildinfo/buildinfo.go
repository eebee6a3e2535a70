// Package buildinfo says which version of the program a binary is.
//
// What it does: it reads the version that the linker has stamped, and what the go
// command leaves in a binary about its module and its repository.
//
// What it does not do: it runs no git and reads no file; what the binary does not know
// is "devel" and "unknown".
//
//	fmt.Println(buildinfo.Read(version))
package buildinfo

import (
	"cmp"
	"fmt"
	"regexp"
	"runtime"
	"runtime/debug"
)

// Info is what a binary knows of itself.
type Info struct{ Version, Commit string }

// String returns the line that version and --version print.
func (b Info) String() string {
	return fmt.Sprintf("proxy %s commit %s %s %s/%s", b.Version, b.Commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// Read reads the build information that the go command leaves in the binary; stamped
// is the version that the linker has set, "" if none.
func Read(stamped string) Info {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return from(stamped, info)
}

// pseudo is the end of a version that go install makes of a commit without a tag.
var pseudo = regexp.MustCompile(`[-.][0-9]{14}-([0-9a-f]{12})(\+|$)`)

// from returns what stamped, the version of the linker, and the build
// information say. What go install has built from a module has no repository
// beside it: its commit, if anywhere, is in its version.
func from(stamped string, info *debug.BuildInfo) Info {
	b := Info{Version: cmp.Or(stamped, info.Main.Version), Commit: "unknown"}
	if m := pseudo.FindStringSubmatch(info.Main.Version); m != nil {
		b.Commit = m[1]
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Commit = s.Value[:min(12, len(s.Value))]
		}
	}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "devel"
	}
	return b
}
