package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// rawLine is a line that is not a record.
const rawLine = `{"_aws":{},"Decisions":1}`

// split takes the raw lines out of a stream and returns the records alone,
// and how many raw lines there were. Every line must be whole.
func split(t *testing.T, stream []byte) (records []byte, others int) {
	t.Helper()
	for line := range bytes.Lines(stream) {
		if !bytes.HasSuffix(line, []byte("\n")) || !json.Valid(line) {
			t.Fatalf("a line is not whole: %q", line)
		}
		if string(line) == rawLine+"\n" {
			others++
			continue
		}
		records = append(records, line...)
	}
	return records, others
}

func TestRawLinesStandBetweenRecordsAndLeaveTheChainAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	l := mustOpen(t, path, Options{})
	const goroutines, each = 8, 50
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				if err := l.Record(refusal(fmt.Sprintf("h%d-%d.example", g, i))); err != nil {
					t.Error(err)
				}
				if err := l.WriteRaw([]byte(rawLine)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	records, others := split(t, read(t, path))
	if got := len(verify(t, records, l.Process())); got != goroutines*each || others != got {
		t.Errorf("%d records and %d raw lines, want %d of each", got, others, goroutines*each)
	}
}

func TestRawLineThatIsCutAnywhereIsCompletedBeforeTheNextRecord(t *testing.T) {
	for taken := range len(rawLine) + 1 {
		synctest.Test(t, func(t *testing.T) {
			w := &gateWriter{open: make(chan int, 8)}
			l := New(w, Options{})
			w.open <- everything
			if err := l.Record(refusal("before.example")); err != nil {
				t.Fatal(err)
			}
			w.open <- taken
			if err := l.WriteRaw([]byte(rawLine)); !errors.Is(err, ErrUnavailable) || !errors.Is(err, io.ErrNoProgress) {
				t.Fatalf("after %d bytes: %v", taken, err)
			}
			w.open <- everything // what is missing of the line, where it was begun
			w.open <- everything
			if err := l.Record(refusal("after.example")); err != nil {
				t.Fatal(err)
			}
			records, others := split(t, w.Bytes())
			if rows := verify(t, records, l.Process()); len(rows) != 2 || l.Lost() != 0 {
				t.Errorf("after %d bytes: %+v, %d lost", taken, rows, l.Lost())
			}
			if begun := taken > 0; (others == 1) != begun {
				t.Errorf("after %d bytes: %d raw lines", taken, others)
			}
		})
	}
}

func TestRawLineCompletesARecordThatWasCut(t *testing.T) {
	w := &gateWriter{open: make(chan int, 8)}
	l := New(w, Options{})
	w.open <- 10
	if err := l.Record(refusal("cut.example")); err == nil {
		t.Fatal("the record is on the output")
	}
	w.open <- everything
	w.open <- everything
	if err := l.WriteRaw([]byte(rawLine)); err != nil {
		t.Fatal(err)
	}
	records, others := split(t, w.Bytes())
	if rows := verify(t, records, l.Process()); len(rows) != 1 || others != 1 {
		t.Errorf("%+v and %d raw lines", rows, others)
	}
}

func TestRawLineThatAFullDiskCutGoesWholeToTheNextFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	l := mustOpen(t, path, Options{})
	if err := l.Record(refusal("first.example")); err != nil {
		t.Fatal(err)
	}
	size := len(read(t, path))
	lift := limitFiles(t, uint64(size+5))
	if err := l.WriteRaw([]byte(rawLine)); err == nil {
		t.Fatal("the line is on the output")
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	err := l.Reopen()
	lift()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Record(refusal("second.example")); err != nil {
		t.Fatal(err)
	}
	old, next := read(t, path+".1"), read(t, path)
	if len(old) != size {
		t.Errorf("the old file ends in %q", old[size:])
	}
	if !strings.HasPrefix(string(next), rawLine+"\n") {
		t.Errorf("the new file begins with %q", next)
	}
	records, _ := split(t, append(old, next...))
	if rows := verify(t, records, l.Process()); len(rows) != 2 {
		t.Errorf("%+v", rows)
	}
}

func TestWhatIsNotOneLineIsRefused(t *testing.T) {
	var w output
	l := New(&w, Options{})
	for _, line := range []string{"", "\n", rawLine + "\n", rawLine + "\n" + rawLine} {
		if err := l.WriteRaw([]byte(line)); !errors.Is(err, ErrLine) {
			t.Errorf("%q: %v", line, err)
		}
	}
	if w.Len() != 0 {
		t.Errorf("the output has %q", w.String())
	}
}

func TestAfterCloseRawLinesAreUnavailable(t *testing.T) {
	var w output
	l := New(&w, Options{})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.WriteRaw([]byte(rawLine)); !errors.Is(err, ErrUnavailable) || w.Len() != 0 {
		t.Errorf("%v, and the output has %q", err, w.String())
	}
}

// While a raw line waits no batch is begun, so that records cannot keep it waiting.
func TestRawLineGoesBeforeTheRecordsThatWait(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			w := &gateWriter{open: make(chan int)}
			l := New(w, Options{})
			var wg sync.WaitGroup
			recordAll(l, &wg, "first", 1)
			synctest.Wait()
			wg.Go(func() {
				if err := l.WriteRaw([]byte(rawLine)); err != nil {
					t.Error(err)
				}
			})
			recordAll(l, &wg, "behind", 3)
			synctest.Wait()
			for range 3 {
				w.open <- everything
			}
			wg.Wait()
			lines := strings.Split(w.String(), "\n")
			if lines[1] != rawLine {
				t.Fatalf("behind the first record comes %s", lines[1])
			}
			records, _ := split(t, w.Bytes())
			if rows := verify(t, records, l.Process()); len(rows) != 4 {
				t.Errorf("%d records", len(rows))
			}
		})
	}
}

func TestRawLineThatFindsTheLogClosedIsNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &gateWriter{open: make(chan int)}
		l := New(w, Options{})
		var wg sync.WaitGroup
		recordAll(l, &wg, "first", 1)
		synctest.Wait()
		wg.Go(func() {
			if err := l.WriteRaw([]byte(rawLine)); !errors.Is(err, ErrUnavailable) {
				t.Errorf("the line is written, %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() { _ = l.Close() })
		synctest.Wait()
		w.open <- everything
		wg.Wait()
		if _, others := split(t, w.Bytes()); others != 0 {
			t.Errorf("the output has %q", w.String())
		}
	})
}

func TestNobodyWaitsForAnOutputThatHangs(t *testing.T) {
	l := mustOpen(t, filepath.Join(t.TempDir(), "records"), Options{})
	l.busy, l.stalled = true, true
	if err := l.WriteRaw([]byte(rawLine)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("WriteRaw: %v", err)
	}
	if err := l.Reopen(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Reopen: %v", err)
	}
	l.busy, l.stalled = false, false
}

// The raw line of which nothing is on the output is not the one that is cut.
func TestRecordThatWasCutIsLostThoughARawLineFailedBehindIt(t *testing.T) {
	w := &gateWriter{open: make(chan int, 8)}
	l := New(w, Options{})
	w.open <- 10
	if err := l.Record(refusal("cut.example")); err == nil {
		t.Fatal("the record is on the output")
	}
	w.open <- 0
	if err := l.WriteRaw([]byte(rawLine)); !errors.Is(err, ErrUnavailable) {
		t.Fatal(err)
	}
	w.open <- 0
	if err := l.Close(); !errors.Is(err, ErrUnavailable) || l.Lost() != 1 || len(l.Totals()) != 0 {
		t.Errorf("%v, %d lost, totals %v", err, l.Lost(), l.Totals())
	}
}
