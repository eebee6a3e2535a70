package localfile

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestRegularFilesAreReadAndNothingElse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// As Kubernetes mounts a ConfigMap: a link to a file below a linked folder.
	must(os.Mkdir(at("..2027"), 0o700))
	must(os.WriteFile(at("..2027/file"), []byte("0123456789"), 0o600))
	must(os.Symlink("..2027", at("..data")))
	must(os.Symlink("..data/file", at("file")))
	for most, want := range map[int64]string{9: "0123456789", 5: "012345", 10: "0123456789", 1 << 40: "0123456789"} {
		data, err := Read(at("file"), most, time.Hour)
		if err != nil || string(data) != want {
			t.Errorf("at most %d: %q, %v", most, data, err)
		}
	}
	must(syscall.Mkfifo(at("fifo"), 0o600))
	must(os.Symlink("fifo", at("link")))
	l, err := net.Listen("unix", at("socket"))
	must(err)
	defer l.Close()
	for path, kind := range map[string]string{
		at("fifo"): "a FIFO", at("link"): "a FIFO", at("socket"): "a socket", "/dev/null": "a device", dir: "a folder",
	} {
		_, err := Read(path, 10, time.Hour)
		var of *fs.PathError
		if !errors.As(err, &of) || of.Path != path || !errors.Is(err, ErrNotRegular) || !strings.Contains(err.Error(), "it is "+kind+", not a regular file") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := Read(at("gone"), 10, time.Hour); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if info, err := Stat(at("file"), time.Hour); err != nil || info.Size() != 10 {
		t.Errorf("Stat: %v, %v", info, err)
	}
}

// A dead mount is a call that does not return. What was given up is not tried again
// while it hangs, others are, and all of them together are bounded.
func TestCallsThatHangAreGivenUpAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dead := make(chan struct{})
		hang := func(path string) error {
			_, err := bounded("open", path, time.Minute, func() (int, error) { <-dead; return 1, nil })
			return err
		}
		fine := func(path string) error {
			_, err := bounded("open", path, time.Minute, func() (int, error) { return 1, nil })
			return err
		}
		began := time.Now()
		if err := hang("0"); !errors.Is(err, ErrHangs) || time.Since(began) != time.Minute {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if err := fine("0"); !errors.Is(err, ErrHangs) || time.Since(began) != time.Minute {
			t.Errorf("the same path again, after %v: %v", time.Since(began), err)
		}
		if err := fine("1"); err != nil {
			t.Errorf("another path: %v", err)
		}
		for i := 1; i < maxHanging; i++ {
			if err := hang(strconv.Itoa(i)); !errors.Is(err, ErrHangs) {
				t.Errorf("path %d: %v", i, err)
			}
		}
		if err := fine("other"); !errors.Is(err, ErrHangs) {
			t.Errorf("with %d calls that hang: %v", maxHanging, err)
		}
		close(dead)
		synctest.Wait()
		for _, path := range []string{"0", "other"} {
			if err := fine(path); err != nil {
				t.Errorf("%s when nothing hangs any more: %v", path, err)
			}
		}
		if len(hanging.calls) != 0 || hanging.all != 0 {
			t.Errorf("%d paths and %d calls are still counted", len(hanging.calls), hanging.all)
		}
	})
}
