package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// foreign is a line that is not a record.
const foreign = `{"_aws":{},"Decisions":1}`

// split takes the foreign lines out of a stream and returns the records alone,
// and how many foreign lines there were. Every line must be whole.
func split(t *testing.T, stream []byte) (records []byte, others int) {
	t.Helper()
	for line := range bytes.Lines(stream) {
		if !bytes.HasSuffix(line, []byte("\n")) || !json.Valid(line) {
			t.Fatalf("a line is torn: %q", line)
		}
		if string(line) == foreign+"\n" {
			others++
			continue
		}
		records = append(records, line...)
	}
	return records, others
}

func TestForeignLinesStandBetweenRecordsAndLeaveTheChainAlone(t *testing.T) {
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
				if err := l.Foreign([]byte(foreign)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	records, others := split(t, read(t, path))
	if got := len(verify(t, records, l.Boot())); got != goroutines*each || others != got {
		t.Errorf("%d records and %d foreign lines, want %d of each", got, others, goroutines*each)
	}
}

func TestForeignLineThatIsCutAnywhereIsCompletedBeforeTheNextRecord(t *testing.T) {
	for taken := range len(foreign) + 1 {
		synctest.Test(t, func(t *testing.T) {
			w := &gateWriter{open: make(chan int, 8)}
			l := New(w, Options{})
			w.open <- everything
			if err := l.Record(refusal("before.example")); err != nil {
				t.Fatal(err)
			}
			w.open <- taken
			if err := l.Foreign([]byte(foreign)); !errors.Is(err, ErrUnavailable) || !errors.Is(err, io.ErrNoProgress) {
				t.Fatalf("after %d bytes: %v", taken, err)
			}
			w.open <- everything // what is missing of the line, where it was begun
			w.open <- everything
			if err := l.Record(refusal("after.example")); err != nil {
				t.Fatal(err)
			}
			records, others := split(t, w.Bytes())
			if rows := verify(t, records, l.Boot()); len(rows) != 2 || l.Lost() != 0 {
				t.Errorf("after %d bytes: %+v, %d lost", taken, rows, l.Lost())
			}
			if begun := taken > 0; (others == 1) != begun {
				t.Errorf("after %d bytes: %d foreign lines", taken, others)
			}
		})
	}
}

func TestForeignLineCompletesARecordThatWasCut(t *testing.T) {
	w := &gateWriter{open: make(chan int, 8)}
	l := New(w, Options{})
	w.open <- 10
	if err := l.Record(refusal("cut.example")); err == nil {
		t.Fatal("the record is on the output")
	}
	w.open <- everything
	w.open <- everything
	if err := l.Foreign([]byte(foreign)); err != nil {
		t.Fatal(err)
	}
	records, others := split(t, w.Bytes())
	if rows := verify(t, records, l.Boot()); len(rows) != 1 || others != 1 {
		t.Errorf("%+v and %d foreign lines", rows, others)
	}
}

func TestForeignLineThatAFullDiskCutGoesWholeToTheNextFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	l := mustOpen(t, path, Options{})
	if err := l.Record(refusal("first.example")); err != nil {
		t.Fatal(err)
	}
	size := len(read(t, path))
	lift := limitFiles(t, uint64(size+5))
	if err := l.Foreign([]byte(foreign)); err == nil {
		t.Fatal("the line is on the output")
	}
	l.path = path + ".next"
	err := l.Reopen()
	lift()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Record(refusal("second.example")); err != nil {
		t.Fatal(err)
	}
	old, next := read(t, path), read(t, path+".next")
	if len(old) != size {
		t.Errorf("the old file ends in %q", old[size:])
	}
	if !strings.HasPrefix(string(next), foreign+"\n") {
		t.Errorf("the new file begins with %q", next)
	}
	records, _ := split(t, append(old, next...))
	if rows := verify(t, records, l.Boot()); len(rows) != 2 {
		t.Errorf("%+v", rows)
	}
}

func TestWhatIsNotOneLineIsRefused(t *testing.T) {
	var w output
	l := New(&w, Options{})
	for _, line := range []string{"", "\n", foreign + "\n", foreign + "\n" + foreign} {
		if err := l.Foreign([]byte(line)); !errors.Is(err, ErrLine) {
			t.Errorf("%q: %v", line, err)
		}
	}
	if w.Len() != 0 {
		t.Errorf("the output has %q", w.String())
	}
}

func TestAfterCloseForeignLinesAreUnavailable(t *testing.T) {
	var w output
	l := New(&w, Options{})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Foreign([]byte(foreign)); !errors.Is(err, ErrUnavailable) || w.Len() != 0 {
		t.Errorf("%v, and the output has %q", err, w.String())
	}
}
