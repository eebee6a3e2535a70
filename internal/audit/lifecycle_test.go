package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"
)

// limitFiles makes write(2) fail behind size bytes of a file until the limit
// is lifted, as a full disk does: it takes a part of the last write first.
func limitFiles(t *testing.T, size uint64) (lift func()) {
	t.Helper()
	signal.Ignore(unix.SIGXFSZ)
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	lift = func() { _ = unix.Setrlimit(unix.RLIMIT_FSIZE, &was) }
	t.Cleanup(lift)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	return lift
}

// fill records until the output has taken a part of a line.
func fill(t *testing.T, l *Log, path string) (recorded int) {
	t.Helper()
	for l.Record(refusal("a.example")) == nil {
		recorded++
	}
	if b := read(t, path); len(b) == 0 || b[len(b)-1] == '\n' || recorded == 0 {
		t.Fatalf("the file does not end in the middle of a line: %q", b)
	}
	return recorded
}

func TestALineThatAFullDiskCutIsCompletedWhenThereIsSpace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	l := mustOpen(t, path, Options{})
	lift := limitFiles(t, 5000)
	recorded := fill(t, l, path)
	for range 3 {
		if err := l.Record(refusal("lost.example")); !errors.Is(err, unix.EFBIG) {
			t.Errorf("Record: %v", err)
		}
	}
	lift()
	if err := l.Probe(); err != nil {
		t.Fatal(err)
	}
	// The line that was cut, and the heartbeat.
	if rows := verify(t, read(t, path), l.Process()); len(rows) != recorded+2 || hosts(rows)["lost.example"] {
		t.Errorf("%d records, want %d", len(rows), recorded+2)
	}
}

func TestALineThatAFullDiskCutGoesWholeToTheNextFile(t *testing.T) {
	dir := t.TempDir()
	path, old := filepath.Join(dir, "records"), filepath.Join(dir, "records.1")
	l := mustOpen(t, path, Options{})
	lift := limitFiles(t, 5000)
	recorded := fill(t, l, path)
	if err := os.Rename(path, old); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	lift()
	if err := l.Record(refusal("after.example")); err != nil {
		t.Fatal(err)
	}
	if rows := verify(t, read(t, old), l.Process()); len(rows) != recorded {
		t.Errorf("%d records in the old file, want %d", len(rows), recorded)
	}
	verify(t, append(read(t, old), read(t, path)...), l.Process())
	if n := bytes.Count(read(t, path), []byte("\n")); n != 2 {
		t.Errorf("%d records in the new file, want 2", n)
	}
}

func TestARecordDoesNotContinueALineOfTheNextFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "records")
	l := mustOpen(t, path, Options{})
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("left"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Reopen(), l.Record(refusal("a.example"))); err != nil {
		t.Fatal(err)
	}
	rest, ok := bytes.CutPrefix(read(t, path), []byte("left\n"))
	if !ok || len(verify(t, rest, l.Process())) != 1 {
		t.Errorf("the file: %s", read(t, path))
	}
}

func TestReopeningTheSameFileCompletesTheLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	l := mustOpen(t, path, Options{})
	lift := limitFiles(t, 5000)
	recorded := fill(t, l, path)
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	lift()
	if err := l.Record(refusal("after.example")); err != nil {
		t.Fatal(err)
	}
	if rows := verify(t, read(t, path), l.Process()); len(rows) != recorded+2 {
		t.Errorf("%d records, want %d", len(rows), recorded+2)
	}
}

func TestRotationWhileWritingLosesAndSplitsNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "records")
	l := mustOpen(t, path, Options{})
	const callers, each, rotations = 8, 200, 20
	var wg sync.WaitGroup
	for g := range callers {
		wg.Go(func() {
			for i := range each {
				if err := l.Record(refusal(fmt.Sprintf("h%d-%d.example", g, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var files []string
	for i := range rotations {
		old := fmt.Sprintf("%s.%d", path, i)
		if err := os.Rename(path, old); err != nil {
			t.Fatal(err)
		}
		if err := l.Reopen(); err != nil {
			t.Fatal(err)
		}
		files = append(files, old)
	}
	wg.Wait()
	var stream []byte
	for _, name := range append(files, path) {
		b := read(t, name)
		if len(b) > 0 && b[len(b)-1] != '\n' {
			t.Errorf("%s ends in the middle of a line", name)
		}
		stream = append(stream, b...)
	}
	if got := len(hosts(verify(t, stream, l.Process()))); got != callers*each {
		t.Errorf("%d records, want %d", got, callers*each)
	}
}

func TestAFileThatWasMovedAwayIsNoticedByProbe(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "records")
	l := mustOpen(t, path, Options{})
	for _, host := range []string{"a.example", "b.example"} {
		if err := l.Probe(); err != nil {
			t.Fatal(err)
		}
		if err := l.Record(refusal(host)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(read(t, path), []byte(host)) {
			t.Errorf("%s is not in the file of that name", host)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReopenThatFailsKeepsTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path, moved := filepath.Join(dir, "d", "records"), filepath.Join(dir, "moved")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	l := mustOpen(t, path, Options{})
	if err := os.Rename(filepath.Dir(path), moved); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err == nil {
		t.Fatal("it was opened in a directory that is not there")
	}
	if err := l.Probe(); err == nil {
		t.Error("Probe does not say so")
	}
	if err := l.Record(refusal("a.example")); err != nil {
		t.Fatal(err)
	}
	if rows := verify(t, read(t, filepath.Join(moved, "records")), l.Process()); len(rows) != 1 {
		t.Errorf("%d records in the old file", len(rows))
	}
}

func TestCloseWritesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &gateWriter{open: make(chan int)}
		l := New(w, Options{})
		var wg sync.WaitGroup
		errs := recordAll(l, &wg, "first", 1)
		synctest.Wait()
		errs = append(errs, recordAll(l, &wg, "waits", 10)...)
		synctest.Wait()
		wg.Go(func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			if got := len(verify(t, w.Bytes(), l.Process())); got != 11 {
				t.Errorf("%d records when Close returned", got)
			}
		})
		synctest.Wait()
		w.open <- everything
		w.open <- everything
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseCountsTheLineThatItCouldNotComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &gateWriter{open: make(chan int)}
		l := New(w, Options{OnFailure: Count})
		go func() { w.open <- 10; w.open <- 10 }()
		if err := l.Record(refusal("a.example")); err != nil || l.Lost() != 0 {
			t.Fatalf("%v, %d lost", err, l.Lost())
		}
		if err := l.Close(); !errors.Is(err, ErrUnavailable) || l.Lost() != 1 || len(l.Totals()) != 0 {
			t.Errorf("%v, %d lost, totals %v", err, l.Lost(), l.Totals())
		}
	})
}

func TestAfterCloseNothingIsReopened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	l := mustOpen(t, path, Options{})
	if err := errors.Join(l.Close(), os.Remove(path)); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Reopen: %v", err)
	}
	if err := l.Probe(); err != nil {
		t.Errorf("Probe: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is there again: %v", err)
	}
}

// That a dead process left a part of a line, and it cannot be ended, loses no record of
// this one.
func TestCloseLosesNothingOfALineThatIsAnothers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	if err := os.WriteFile(path, []byte("left"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := mustOpen(t, path, Options{})
	lift := limitFiles(t, 4)
	err := l.Close()
	lift()
	if err != nil || l.Lost() != 0 || string(read(t, path)) != "left" {
		t.Errorf("%v, %d lost, the file: %s", err, l.Lost(), read(t, path))
	}
}

// What the program leaves behind at its end may go on, but not in the records.
func TestNothingFollowsTheLastRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	l := mustOpen(t, path, Options{})
	if err := l.Record(&Event{Kind: Stopped}); err != nil {
		t.Fatal(err)
	}
	if err := l.Record(refusal("late.example")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a record behind the last one: %v", err)
	}
	if n, err := l.RecordAll([]*Event{refusal("late.example")}); n != 0 || !errors.Is(err, ErrUnavailable) {
		t.Errorf("records behind the last one: %d, %v", n, err)
	}
	l.Post(refusal("late.example"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if b := read(t, path); bytes.Count(b, []byte("\n")) != 1 || !bytes.Contains(b, []byte(`"stopped"`)) {
		t.Errorf("the file holds %s", b)
	}
}
