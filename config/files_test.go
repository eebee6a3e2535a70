package config

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// What is not a regular file is refused by whatever key names it, and nobody waits for a
// FIFO to be written to.
func TestOnlyRegularFilesAreRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "egress.yaml")
	fifo := filepath.Join(dir, "fifo")
	for _, err := range []error{syscall.Mkfifo(fifo, 0o600), os.Mkdir(filepath.Join(dir, "folder"), 0o700)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	const tls = "listen: {tls: {address: '127.0.0.1:0', "
	for text, want := range map[string]string{
		"sets: {s: {file: fifo}}":                       "sets.s.file: \"fifo\" cannot be read (it is a FIFO, not a regular file)",
		"sets: {s: {file: folder}}":                     "sets.s.file: \"folder\" cannot be read (it is a folder, not a regular file)",
		"include: [{file: fifo, functions: [b]}]":       "include[0].file: \"fifo\" cannot be read (it is a FIFO, not a regular file)",
		"include: [{file: folder, functions: [b]}]":     "include[0].file: \"folder\" cannot be read (it is a folder, not a regular file)",
		"sets: {s: {file: /dev/null}}":                  "sets.s.file: \"/dev/null\" cannot be read (it is a device, not a regular file)",
		tls + "certificate: fifo, key: fifo}}":          "listen.tls.certificate: \"fifo\" cannot be read (it is a FIFO, not a regular file)",
		tls + "certificate: x, key: fifo}}":             "listen.tls.key: \"fifo\" cannot be read (it is a FIFO, not a regular file)",
		tls + "certificate: x, key: x, client_ca: ./}}": "listen.tls.client_ca: \"./\" cannot be read (it is a folder, not a regular file)",
	} {
		data := "version: 1\n" + text + "\nfunctions: {a: {identify: {sources: [10.0.0.0/8]}, allow: []}}\n"
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := ends(t, fifo, func() error { _, err := Load(path); return err }); err == nil || !strings.Contains(err.Error(), "egress.yaml:2: "+want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	for name, kind := range map[string]string{"fifo": "a FIFO", "folder": "a folder"} {
		err := ends(t, fifo, func() error { _, err := Load(filepath.Join(dir, name)); return err })
		if err == nil || !strings.Contains(err.Error(), name+": it is "+kind+", not a regular file") {
			t.Errorf("the policy is %s: %v", kind, err)
		}
	}
}

// ends returns what f does, which must not wait for somebody to write to the FIFO.
func ends(t *testing.T, fifo string, f func() error) error {
	t.Helper()
	result := make(chan error, 1)
	go func() { result <- f() }()
	select {
	case err := <-result:
		return err
	case <-time.After(egresstest.Timeout):
	}
	w, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	t.Fatal("the load waits for the FIFO")
	return nil
}
