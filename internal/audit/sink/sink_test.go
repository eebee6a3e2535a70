package sink

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// errTaken is the error of a limitedWriter that has taken all it may.
var errTaken = errors.New("no more")

// limitedWriter takes as many bytes as it may, then fails.
type limitedWriter struct {
	bytes.Buffer
	may int
}

func (w *limitedWriter) Write(p []byte, _ time.Time) (int, error) {
	n := min(len(p), w.may)
	w.may -= n
	w.Buffer.Write(p[:n])
	if n < len(p) {
		return n, errTaken
	}
	return n, nil
}

func (*limitedWriter) Close() error { return nil }

// At every byte that the output stops at, and stops at again while it completes
// the line: what Write returned is on it, the line that was begun is completed
// before the next one, and those after it are not there.
func TestLineThatWasBegunIsCompletedAndNoOtherIs(t *testing.T) {
	const lines, next = "one\ntwo\nthree\n", "next\n"
	for taken := range len(lines) {
		for more := range 3 {
			w := &limitedWriter{may: taken}
			o := New(w)
			n, err := o.Write([]byte(lines), time.Time{})
			whole := bytes.LastIndexByte([]byte(lines[:taken]), '\n') + 1
			if n != taken || !errors.Is(err, errTaken) || o.HasPartial() != (whole < taken) {
				t.Fatalf("after %d bytes: %d, %v, a part: %v", taken, n, err, o.HasPartial())
			}
			w.may = more
			_ = o.CompletePartial(time.Time{})
			w.may = 100
			if n, err := o.Write([]byte(next), time.Time{}); n != len(next) || err != nil || o.HasPartial() {
				t.Fatalf("after %d bytes: %d, %v", taken, n, err)
			}
			want := lines[:whole]
			if whole < taken {
				want = lines[:taken+bytes.IndexByte([]byte(lines[taken:]), '\n')+1]
			}
			if got := w.String(); got != want+next {
				t.Errorf("after %d and %d bytes: %q, want %q", taken, more, got, want+next)
			}
		}
	}
}

func TestMovedIsWhereThePathNamesAnotherFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lines")
	o, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if o.Moved() || !o.Reopenable() {
		t.Errorf("moved: %v, can be reopened: %v", o.Moved(), o.Reopenable())
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if !o.Moved() {
		t.Error("it was not noticed")
	}
	next, err := o.Reopen(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := next.Write([]byte("line\n"), time.Now()); err != nil || next.Moved() {
		t.Errorf("%v, moved: %v", err, next.Moved())
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "line\n" {
		t.Errorf("%q, %v", b, err)
	}
	if err := errors.Join(o.Close(), next.Close()); err != nil {
		t.Error(err)
	}
	if plain := New(Plain(&bytes.Buffer{})); plain.Moved() || plain.Reopenable() {
		t.Error("an io.Writer has a path")
	}
}
