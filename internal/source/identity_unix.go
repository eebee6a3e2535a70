//go:build unix

package source

import (
	"fmt"
	"os"
	"syscall"
)

// identity returns device and inode, which differ after a rename over the path
// even where size and time do not.
func identity(info os.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}
