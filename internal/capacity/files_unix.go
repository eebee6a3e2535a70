//go:build unix

package capacity

import (
	"math"

	"golang.org/x/sys/unix"
)

// Files returns how many descriptors the process may have open, 0 if that is
// not known. The runtime has raised the soft limit to the hard one by now.
func Files() int {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return int(min(uint64(l.Cur), math.MaxInt32))
}
