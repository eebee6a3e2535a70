package memory

import (
	"os"
	"path/filepath"
	"testing"
)

// group returns a cgroup whose files hold the texts.
func group(t *testing.T, usage, stat string) *cgroup {
	t.Helper()
	g := &cgroup{usage: filepath.Join(t.TempDir(), "usage"), stat: filepath.Join(t.TempDir(), "stat"), cache: []byte("inactive_file ")}
	for path, text := range map[string]string{g.usage: usage, g.stat: stat} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func TestFilesThatTheKernelHasOnlyCachedAreNotInUse(t *testing.T) {
	for _, row := range []struct {
		name, usage, stat string
		enough, want      uint64
		known             bool
	}{
		{"less than enough is not looked into", "1000\n", "inactive_file 400\n", 1000, 1000, true},
		{"more is", "1001\n", "anon 300\ninactive_file 400\n", 1000, 601, true},
		{"figures that do not fit are no underflow", "1001\n", "inactive_file 4000\n", 1000, 0, true},
		{"without a line for the cache all is in use", "1001\n", "anon 300\n", 1000, 1001, true},
		{"what is not a number is not known", "max\n", "", 0, 0, false},
	} {
		if used, known := group(t, row.usage, row.stat).current(row.enough); used != row.want || known != row.known {
			t.Errorf("%s: %d, %v; want %d, %v", row.name, used, known, row.want, row.known)
		}
	}
	if used, known := (*cgroup)(nil).current(0); used != 0 || known {
		t.Errorf("without a cgroup: %d, %v", used, known)
	}
}

func TestUsageLiesWithinTheLimit(t *testing.T) {
	used, limit := NewGauge().Usage(0)
	if used == 0 || limit != 0 && used > limit {
		t.Errorf("%d bytes of %d are in use", used, limit)
	}
}

// What was allocated since the last collection is garbage but for what requests have come
// to hold meanwhile: a burst of them is no garbage.
func TestWhatABurstHoldsIsNoGarbage(t *testing.T) {
	g := &Gauge{}
	for _, row := range []struct {
		what                    string
		allocated, cycles, held uint64
		want                    uint64
	}{
		{"nothing is held", 100, 1, 0, 100},
		{"a burst holds most of it", 190, 1, 180, 10},
		{"at worst more than was allocated", 190, 1, 500, 0},
		{"some have ended", 190, 1, 100, 90},
		{"a collection has found out", 5, 2, 100, 5},
		{"more come", 45, 2, 130, 15},
		{"all have ended", 60, 2, 0, 60},
		{"and others have come", 70, 2, 60, 10},
	} {
		if got := g.garbage(row.allocated, row.cycles, row.held); got != row.want {
			t.Errorf("%s: %d, want %d", row.what, got, row.want)
		}
	}
}
