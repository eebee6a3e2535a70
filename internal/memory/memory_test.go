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
	used, limit := NewGauge().Usage()
	if used == 0 || limit != 0 && used > limit {
		t.Errorf("%d bytes of %d are in use", used, limit)
	}
}
