package chunked_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http/httputil"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/chunked"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
)

// read gives the reader pieces of so many bytes until it is done.
func read(r *chunked.Reader, raw string, piece int) (out string, rest string, err error) {
	var dst []byte
	for raw != "" && !r.Done() {
		n := min(piece, len(raw))
		var used int
		if dst, used, err = r.Next(dst, []byte(raw[:n])); err != nil {
			return string(dst), raw, err
		}
		raw = raw[used:]
	}
	return string(dst), raw, nil
}

func TestChunksAreGivenBackWithoutWhatCarriesNothing(t *testing.T) {
	t.Parallel()
	passAll := func(httphead.Field) bool { return true }
	for _, row := range []struct {
		raw, want, bare string
		trailer         func(httphead.Field) bool
	}{
		{"5\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "hello", nil},
		{"0\r\n\r\n", "0\r\n\r\n", "", nil},
		{"000\r\n\r\n", "0\r\n\r\n", "", nil},
		{"005;a=b;c=\"d\"\r\nhello\r\n00;x\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "hello", nil},
		{"A \t\r\n0123456789\r\n1 ;x\r\n\n\r\n0\r\n\r\n", "a\r\n0123456789\r\n1\r\n\n\r\n0\r\n\r\n", "0123456789\n", nil},
		{"1\r\nx\r\n0\r\nA: 1\r\nb:2 \r\n\r\n", "1\r\nx\r\n0\r\n\r\n", "x", nil},
		{"1\r\nx\r\n0\r\nA: 1\r\nb:2 \r\n\r\n", "1\r\nx\r\n0\r\nA: 1\r\nb:2 \r\n\r\n", "x", passAll},
	} {
		for piece := 1; piece < len(row.raw)+4; piece++ {
			r := chunked.Reader{Trailer: row.trailer}
			if got, rest, err := read(&r, row.raw+"next", piece); got != row.want || rest != "next" || err != nil || !r.Done() {
				t.Fatalf("%q in pieces of %d: %q, then %q, %v; want %q", row.raw, piece, got, rest, err, row.want)
			}
			bare := chunked.Reader{Bare: true, Trailer: row.trailer}
			if got, _, err := read(&bare, row.raw, piece); got != row.bare || err != nil || bare.Moved() != int64(len(row.bare)) {
				t.Fatalf("%q bare: %q, %v, %d moved", row.raw, got, err, bare.Moved())
			}
		}
	}
}

// malformed are chunks that are wrong before their end, and would be whole without that.
var malformed = []string{
	"\r\n\r\n", "x\r\n", "0x5\r\nhello\r\n", "-1\r\n", "+5\r\nhello\r\n", "5_0\r\n", " 5\r\nhello\r\n", "5\nhello\r\n", "5\r\nhello\n", "5\r\nhelloX\r\n",
	"5;a\rb\r\nhello\r\n", "5;a\x00\r\nhello\r\n", "8000000000000000\r\n", "1000000000000000\r\n", "FFFFFFFFFFFFFFFFF\r\n", "0\n\r\n", "0\r\n\n",
	"0\r\nA: b\n\r\n", "0\r\nA: b\r\n c\r\n\r\n", "0\r\n: b\r\n\r\n", "0\r\nGET / HTTP/1.1\r\n\r\n", "0\r\nA : b\r\n\r\n", "5\r\nhello0\r\n\r\n",
	"1;" + strings.Repeat("x", 5<<10) + "\r\nx\r\n", "0\r\nA: " + strings.Repeat("x", 5<<10) + "\r\n\r\n", "0\r\n" + strings.Repeat("A: b\r\n", 1000) + "\r\n",
	strings.Repeat("1;"+strings.Repeat("x", 3<<10)+"\r\nx\r\n", 20),
}

func TestMalformedChunksAreRefusedHoweverTheyAreSplit(t *testing.T) {
	t.Parallel()
	for _, raw := range malformed {
		for _, piece := range []int{1, 2, 3, 7, len(raw)} {
			r := chunked.Reader{}
			if got, _, err := read(&r, raw, piece); !errors.Is(err, chunked.Err) || r.Done() || strings.HasSuffix(got, "0\r\n\r\n") {
				t.Errorf("%.40q in pieces of %d: %.40q, %v", raw, piece, got, err)
			}
		}
	}
}

// What has not come to its end has none in what is given back.
func TestChunksThatBreakOffDoNotLookWhole(t *testing.T) {
	t.Parallel()
	const raw = "3;x\r\nhel\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\n"
	for n := range len(raw) {
		r := chunked.Reader{Trailer: func(httphead.Field) bool { return true }}
		got, _, err := read(&r, raw[:n], len(raw))
		if err != nil || r.Done() {
			t.Fatalf("%q: %v", raw[:n], err)
		}
		if _, err := io.ReadAll(httputil.NewChunkedReader(strings.NewReader(got))); err == nil {
			t.Errorf("%q gives back %q, which looks whole", raw[:n], got)
		}
	}
}

// However much comes beside the content, no more than a line and the trailers is held.
func TestExtensionsWithoutEndHoldNothing(t *testing.T) {
	for _, begin := range []string{"1;", "0\r\nA: ", "5\r\nhello"} {
		r := chunked.Reader{}
		piece := []byte(begin + strings.Repeat("x", 1<<10))
		total, err := 0, error(nil)
		for total < 1<<20 && err == nil {
			_, _, err = r.Next(nil, piece)
			total += len(piece)
			piece = piece[len(piece)-1<<10:]
		}
		if total > 8<<10 {
			t.Errorf("%q: %d bytes were taken", begin, total)
		}
	}
}

// FuzzReader holds that what is taken is what net/http takes, with the same content, and
// that what is given back has that content too.
func FuzzReader(f *testing.F) {
	for _, raw := range malformed[:20] {
		f.Add([]byte(raw), 3)
	}
	f.Add([]byte("3;x\r\nhel\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\n"), 1)
	f.Fuzz(func(t *testing.T, raw []byte, piece int) {
		if len(raw) > 64<<10 {
			return
		}
		r := chunked.Reader{}
		got, rest, err := read(&r, string(raw), max(piece, 1))
		if err != nil || !r.Done() {
			return
		}
		theirs, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(raw)))
		if err != nil {
			t.Fatalf("%q is taken, and net/http says %v", raw, err)
		}
		ours, err := io.ReadAll(httputil.NewChunkedReader(strings.NewReader(got)))
		if err != nil || !bytes.Equal(ours, theirs) || int64(len(ours)) != r.Moved() {
			t.Fatalf("%q gives back %q, %v; behind it %q", raw, got, err, rest)
		}
	})
}

func BenchmarkReader(b *testing.B) {
	raw := []byte(fmt.Sprintf("%x\r\n%s\r\n", 16<<10, strings.Repeat("x", 16<<10)))
	dst := make([]byte, 0, 32<<10)
	r := chunked.Reader{}
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, n, err := r.Next(dst, raw); n != len(raw) || err != nil {
			b.Fatal(n, err)
		}
	}
}
