package commandline

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// What is no terminal gets nothing: it is read by a program.
func TestProgressIsForTerminalsAlone(t *testing.T) {
	var b bytes.Buffer
	Progress(&b)("reading")
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	Progress(file)("reading")
	if info, err := file.Stat(); err != nil || info.Size() != 0 || b.Len() != 0 || IsTerminal(file) {
		t.Errorf("%d bytes, %v, %q", info.Size(), err, b.String())
	}
}
