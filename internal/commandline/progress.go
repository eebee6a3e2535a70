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

// Progress returns a func that says on a terminal how far long work is, in one line that it
// writes over. Where to is no terminal it returns nil: nobody asks.
func Progress(to io.Writer, what string) func(done int) {
	file, ok := to.(*os.File)
	if !ok || !IsTerminal(file) {
		return nil
	}
	return func(done int) { fmt.Fprintf(file, "\r%s: %d \r", what, done) }
}
