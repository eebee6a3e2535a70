package source

import (
	"io/fs"
	"syscall"
	"time"
)

// statusTime returns when the inode was changed, which nobody can set; zero: nothing says
// when.
func statusTime(info fs.FileInfo) time.Time {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return time.Time{}
	}
	return time.Unix(st.Ctim.Unix())
}
