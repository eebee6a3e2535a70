package source_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/source"
)

// watched loads one path and runs a watcher in a bubble, which loads it again
// when it is told to; each step changes the file and lets three polls pass. It
// returns how often the watcher told.
func watched(t *testing.T, path string, steps ...func()) int {
	t.Helper()
	return watchedFrom(t, path, func() {}, steps...)
}

// running runs a watcher while something happens between its polls.
func running(t *testing.T, w *source.Watcher, changed, meanwhile func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.Run(ctx, changed) }()
	synctest.Wait()
	time.Sleep(500 * time.Millisecond)
	meanwhile()
	cancel()
	<-done
}

// watchedFrom is watched with something that happens after the first load and
// before the first poll.
func watchedFrom(t *testing.T, path string, before func(), steps ...func()) int {
	t.Helper()
	var calls atomic.Int64
	synctest.Test(t, func(t *testing.T) {
		var w source.Watcher
		load := func() { w.Begin(); w.Reading(path) }
		load()
		before()
		running(t, &w, func() { calls.Add(1); load() }, func() {
			for _, step := range steps {
				step()
				time.Sleep(3 * time.Second)
				synctest.Wait()
			}
		})
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

// rewrite writes other text of the same length into a file, and puts its time back.
func rewrite(t *testing.T, path, text string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), os.Chtimes(path, info.ModTime(), info.ModTime())); err != nil {
		t.Fatal(err)
	}
}

// A tool that keeps times (rsync --inplace --times, a restored backup), or two writes
// within one tick of the clock of the file system: size, inode and times can all be what
// they were. A small file and a large one.
func TestFileThatIsRewrittenWithTheSameLengthAndTimeIsReported(t *testing.T) {
	for name, size := range map[string]int{"small": 3, "large": 1<<20 + 1} {
		missed := 0
		for range 20 {
			path := filepath.Join(t.TempDir(), "egress.yaml")
			write(t, path, strings.Repeat("a", size))
			if n := watchedFrom(t, path, func() { rewrite(t, path, "b") }, func() {}); n != 1 {
				missed++
			}
		}
		if missed > 0 {
			t.Errorf("%s: %d of 20 changes are not seen, or more than once", name, missed)
		}
	}
}

// The times of some file systems do not tell that a file was written, or not at once.
func TestContentTellsWhereTimesDoNot(t *testing.T) {
	for name, size := range map[string]int{"small": 3, "large": 1<<20 + 1} {
		path := filepath.Join(t.TempDir(), "egress.yaml")
		write(t, path, strings.Repeat("a", size))
		if source.SameByContent(path, func() { rewrite(t, path, "b") }) {
			t.Errorf("%s: another content counts as the same", name)
		}
		if !source.SameByContent(path, func() { rewrite(t, path, "b") }) {
			t.Errorf("%s: the same content counts as another", name)
		}
		if source.Unreads(path) {
			t.Errorf("%s: the times of a file that was just written are relied on", name)
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

func TestChangeBetweenTheFirstLoadAndTheFirstPollIsReported(t *testing.T) {
	path := filepath.Join(t.TempDir(), "egress.yaml")
	write(t, path, "one")
	if n := watchedFrom(t, path, func() { write(t, path, "two, longer") }, func() {}, func() {}); n != 1 {
		t.Errorf("Changed was called %d times, want 1", n)
	}
}

// The load that is told of begins, and the file changes again while it is read.
func TestChangeWhileTheFileIsReadIsReported(t *testing.T) {
	path := filepath.Join(t.TempDir(), "egress.yaml")
	write(t, path, "one")
	synctest.Test(t, func(t *testing.T) {
		var w source.Watcher
		w.Reading(path)
		calls := 0
		running(t, &w, func() {
			w.Begin()
			w.Reading(path)
			if calls++; calls == 1 {
				write(t, path, "three, longer")
			}
		}, func() {
			write(t, path, "two, long")
			time.Sleep(20 * time.Second)
			synctest.Wait()
		})
		if calls != 2 {
			t.Errorf("Changed was called %d times, want 2", calls)
		}
	})
}

func TestFileThatWasMissingIsReportedWhenItIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "names.txt")
	if n := watched(t, path, func() {}, func() { write(t, path, "here") }, func() {}); n != 1 {
		t.Errorf("Changed was called %d times, want 1", n)
	}
}

func TestFileThatIsStillBeingWrittenIsNotReported(t *testing.T) {
	path := filepath.Join(t.TempDir(), "egress.yaml")
	write(t, path, "one")
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		w := source.Watcher{Every: time.Second}
		load := func() { w.Begin(); w.Reading(path) }
		load()
		running(t, &w, func() { calls.Add(1); load() }, func() {
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
		})
		if n := calls.Load(); n != 1 {
			t.Errorf("Changed was called %d times after the writer had ended, want 1", n)
		}
	})
}
