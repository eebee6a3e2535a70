package source_test

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/source"
)

// watched runs a watcher over one path in a bubble; each step changes the file
// and lets three polls pass. It returns how often Changed was called.
func watched(t *testing.T, path string, steps ...func()) int {
	t.Helper()
	var calls atomic.Int64
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := source.Watcher{Files: func() []string { return []string{path} }, Changed: func() { calls.Add(1) }}
		done := make(chan struct{})
		go func() { w.Run(ctx); close(done) }()
		synctest.Wait()
		time.Sleep(500 * time.Millisecond) // steps fall between polls
		for _, step := range steps {
			step()
			time.Sleep(3 * time.Second)
			synctest.Wait()
		}
		cancel()
		<-done
	})
	return int(calls.Load())
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestUnchangedFileIsNotReported(t *testing.T) {
	path := filepath.Join(t.TempDir(), "egress.yaml")
	write(t, path, "one")
	if n := watched(t, path, func() {}, func() {}); n != 0 {
		t.Errorf("Changed was called %d times", n)
	}
}

func TestEveryWayToReplaceAFileIsReportedOnce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "egress.yaml")
	write(t, path, "one")
	for name, step := range map[string]func(){
		"written in place": func() { write(t, path, "two, longer") },
		"renamed over": func() {
			write(t, path+".new", "two, longer")
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		},
		"renamed over, same size and time": func() {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			write(t, path+".new", "TWO, LONGER")
			if err := os.Chtimes(path+".new", info.ModTime(), info.ModTime()); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		},
		"deleted": func() { os.Remove(path) },
	} {
		write(t, path, "one, long..")
		if n := watched(t, path, step); n != 1 {
			t.Errorf("%s: Changed was called %d times, want 1", name, n)
		}
	}
}

func TestSwappedSymlinkIsReported(t *testing.T) {
	dir := t.TempDir()
	for _, version := range []string{"v1", "v2"} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, version, "egress.yaml"), version)
	}
	link := filepath.Join(dir, "current")
	if err := os.Symlink("v1", link); err != nil {
		t.Fatal(err)
	}
	n := watched(t, filepath.Join(link, "egress.yaml"), func() {
		if err := os.Symlink("v2", link+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link+".new", link); err != nil {
			t.Fatal(err)
		}
	})
	if n != 1 {
		t.Errorf("Changed was called %d times, want 1", n)
	}
}

func TestFileThatIsStillBeingWrittenIsNotReported(t *testing.T) {
	path := filepath.Join(t.TempDir(), "egress.yaml")
	write(t, path, "one")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var calls atomic.Int64
		w := source.Watcher{Files: func() []string { return []string{path} }, Changed: func() { calls.Add(1) }, Every: time.Second}
		done := make(chan struct{})
		go func() { w.Run(ctx); close(done) }()
		synctest.Wait()
		time.Sleep(500 * time.Millisecond) // writes fall between polls
		text := ""
		for range 10 {
			text += "one more line\n"
			write(t, path, text)
			time.Sleep(time.Second)
			synctest.Wait()
			if calls.Load() != 0 {
				t.Fatal("Changed was called between two writes")
			}
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := calls.Load(); n != 1 {
			t.Errorf("Changed was called %d times after the writer had ended, want 1", n)
		}
		cancel()
		<-done
	})
}
