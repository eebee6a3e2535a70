package hello_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hello"
)

func TestReadKeepsEveryByteInOrder(t *testing.T) {
	one := wire(sni(host))
	split := records(message(sni(host)), 1)
	early := slices.Concat(one, []byte("\x17\x03\x03\x00\x05early\x00\xff"), bytes.Repeat([]byte{0xa5}, 3000))
	whole := func(r io.Reader) io.Reader { return r }
	for _, tt := range []struct {
		name string
		sent []byte
		with int // bytes of it that came with the request, before the reading
		in   func(io.Reader) io.Reader
	}{
		{"in one segment", one, 0, whole},
		{"a byte a segment", one, 0, iotest.OneByteReader},
		{"a byte a record", split, 0, whole},
		{"a byte a record and segment", split, 0, iotest.OneByteReader},
		{"end of input with the last bytes", one, 0, iotest.DataErrReader},
		{"early data in the same segment", early, 0, whole},
		{"all of it sent with the request", early, len(early), whole},
		{"a part sent with the request", early, 3, whole},
		{"empty reads in between", one, 0, func(r io.Reader) io.Reader {
			return io.MultiReader(io.LimitReader(r, 9), &idle{99}, r)
		}},
		{"above 16 KiB", large(), 0, iotest.HalfReader},
	} {
		for _, room := range []int{0, 1, 100, 4096, 1 << 17} {
			r := tt.in(bytes.NewReader(tt.sent[tt.with:]))
			b, h, err := hello.Read(r, append(make([]byte, 0, room), tt.sent[:tt.with]...))
			if err != nil || !h.Matches(host) {
				t.Errorf("%s, room %d: %v", tt.name, room, err)
			}
			rest, _ := io.ReadAll(r)
			if !bytes.Equal(slices.Concat(b, rest), tt.sent) {
				t.Errorf("%s, room %d: %d bytes and %d left are not what was sent", tt.name, room, len(b), len(rest))
			}
		}
	}
}

// idle returns nothing and no error n times, then the end.
type idle struct{ n int }

func (r *idle) Read([]byte) (int, error) {
	if r.n == 0 {
		return 0, io.EOF
	}
	r.n--
	return 0, nil
}

// decided is a reader that must not be read: the answer is known already.
type decided struct{ t *testing.T }

func (r decided) Read([]byte) (int, error) {
	r.t.Error("Read waits for bytes that cannot change its mind")
	return 0, io.EOF
}

func TestReadStopsAsSoonAsItIsDecided(t *testing.T) {
	ok := wire(sni(host))
	for _, tt := range []struct {
		name string
		sent []byte
		want error
	}{
		{"complete", ok, nil},
		{"16 MiB declared, then a drip", []byte("\x16\x03\x01\x40\x00\x01\xff\xff\xff"), hello.ErrTooLarge},
		{"one byte of a greeting", []byte("S"), hello.ErrNotTLS},
		{"empty record", []byte("\x16\x03\x01\x00\x00"), hello.ErrNotTLS},
		{"alert", []byte("\x15"), hello.ErrNotTLS},
	} {
		r := io.MultiReader(bytes.NewReader(tt.sent), decided{t})
		b, _, err := hello.Read(r, nil)
		if !errors.Is(err, tt.want) || !bytes.Equal(b, tt.sent) {
			t.Errorf("%s: %q, %v, want %v", tt.name, b, err, tt.want)
		}
	}
}

func TestReadTellsHowTheReaderFailed(t *testing.T) {
	ok := wire(sni(host))
	for _, tt := range []struct {
		name   string
		sent   []byte
		failed error
		want   []error
		not    error
	}{
		{"end before the first byte", nil, io.EOF, []error{hello.ErrNotTLS, io.EOF}, io.ErrUnexpectedEOF},
		{"end inside the hello", ok[:40], io.EOF, []error{hello.ErrNotTLS, io.ErrUnexpectedEOF}, os.ErrDeadlineExceeded},
		{"deadline before the first byte", nil, os.ErrDeadlineExceeded, []error{os.ErrDeadlineExceeded}, hello.ErrNotTLS},
		{"deadline inside the hello", ok[:40], os.ErrDeadlineExceeded, []error{os.ErrDeadlineExceeded}, hello.ErrNotTLS},
	} {
		r := io.MultiReader(bytes.NewReader(tt.sent), iotest.ErrReader(tt.failed))
		b, h, err := hello.Read(r, nil)
		for _, want := range tt.want {
			if !errors.Is(err, want) {
				t.Errorf("%s: %v is not %v", tt.name, err, want)
			}
		}
		if errors.Is(err, tt.not) || errors.Is(err, hello.ErrIncomplete) {
			t.Errorf("%s: unexpected %v", tt.name, err)
		}
		if !bytes.Equal(b, tt.sent) || h.Matches(host) {
			t.Errorf("%s: %d bytes came back, want %d", tt.name, len(b), len(tt.sent))
		}
	}
}

func TestReaderThatReturnsNothingEnds(t *testing.T) {
	if _, _, err := hello.Read(&idle{1 << 30}, nil); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("Read = %v, want %v", err, io.ErrNoProgress)
	}
}

func TestReadHoldsNoMoreThanTheLimit(t *testing.T) {
	drip := records(bytes.Repeat([]byte{1, 0, 0xff, 0xff}, 1<<16), 1)
	b, _, err := hello.Read(bytes.NewReader(drip), nil)
	if !errors.Is(err, hello.ErrTooLarge) || cap(b) > hello.MaxBytes {
		t.Errorf("%d bytes held, %v", cap(b), err)
	}
	// What is small stays small, whatever length it declares.
	b, _, err = hello.Read(bytes.NewReader([]byte("\x16\x03\x01\x40\x00\x01\x00\xff\xff\x03\x03")), nil)
	if !errors.Is(err, io.ErrUnexpectedEOF) || cap(b) > 4<<10 {
		t.Errorf("%d bytes held for a start, %v", cap(b), err)
	}
}

func TestReadingIntoARoomyBufferAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 4<<10)
	for name, in := range recorded(t) {
		r := bytes.NewReader(in)
		n := testing.AllocsPerRun(100, func() {
			r.Reset(in)
			if _, h, err := hello.Read(r, buf); err != nil || h.Check(host) != nil {
				t.Fatal(name, err)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
