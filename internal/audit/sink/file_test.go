package sink

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAPipeIsGivenWholeLinesAndNoMoreThanItTakes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f, _, err := openFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// As standard output is: shared with others and therefore blocking.
	if err := unix.SetNonblock(f.fd, false); err != nil {
		t.Fatal(err)
	}
	p := bytes.Repeat([]byte("a line of eighteen\n"), 100_000)
	// The pipe's first page is begun: a piece of its whole size does not fit,
	// and a write that blocks for ever is the failure of this test.
	if _, err := f.Write(p[:19], time.Time{}); err != nil {
		t.Fatal(err)
	}
	n, err := f.Write(p, time.Now().Add(10*time.Millisecond))
	if !errors.Is(err, ErrTimeout) || n == 0 || n == len(p) || p[n-1] != '\n' {
		t.Errorf("%d of %d bytes: %v", n, len(p), err)
	}
	got := make([]byte, len(p))
	if m, err := r.Read(got); err != nil || m != n+19 {
		t.Errorf("the reader got %d of %d bytes: %v", m, n, err)
	}
}

func TestPiecesForAPipeAreWholeLines(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""}, {"ab\n", "ab\n"}, {"ab\ncdef\n", "ab\n"}, {"a\nb\nc\nd\n", "a\nb\n"}, {"abcdefgh\n", "abcde"},
	} {
		if got := string(wholeLines([]byte(c.in), 5)); got != c.want {
			t.Errorf("of %q: %q, want %q", c.in, got, c.want)
		}
	}
}
