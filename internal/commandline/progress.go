package commandline

import (
	"fmt"
	"io"
	"os"
)

// IsTerminal reports whether somebody may be looking at a file.
func IsTerminal(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Progress returns a func that shows on a terminal what long work is doing, in one line that
// the next text replaces and "" removes. Where to is no terminal it shows nothing.
func Progress(to io.Writer) func(doing string) {
	file, ok := to.(*os.File)
	if !ok || !IsTerminal(file) {
		return func(string) {}
	}
	return func(doing string) { fmt.Fprint(file, "\r\x1b[K", doing) } // ECMA-48: to the begin of the line, and erase it
}
