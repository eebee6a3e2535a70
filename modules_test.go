package repo

import (
	"regexp"
	"strings"
	"testing"
)

// Each requirement of go.mod says why it is there, at its end or above it and those
// beside it.
func TestEveryDirectRequirementSaysWhy(t *testing.T) {
	t.Parallel()
	required, told := 0, false
	for line := range strings.Lines(read(t, "go.mod")) {
		switch f := strings.Fields(line); {
		case len(f) > 0 && f[0] == "//":
			told = true
		case len(f) >= 2 && strings.HasPrefix(f[1], "v") && !strings.Contains(line, "// indirect"):
			if required++; len(f) == 2 && !told {
				t.Errorf("go.mod: %s: no word about why it is there", f[0])
			}
			told = told && len(f) == 2
		default:
			told = false
		}
	}
	if required == 0 {
		t.Error("go.mod requires nothing; the check looks for the wrong thing")
	}
}

// A tag of an action can be moved to other code; a hash cannot.
func TestWorkflowsPinActionsByHash(t *testing.T) {
	t.Parallel()
	pinned := regexp.MustCompile(`^ *(- )?uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	walk(t, func(name string) {
		n := 0
		for line := range strings.Lines(read(t, name)) {
			n++
			if line = strings.TrimRight(line, "\n"); strings.Contains(line, "uses:") && !pinned.MatchString(line) {
				t.Errorf("%s:%d: not pinned by a hash with its release beside it: %s", name, n, strings.TrimSpace(line))
			}
		}
	}, ".yml")
}
