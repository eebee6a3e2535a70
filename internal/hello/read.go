package hello

import (
	"errors"
	"fmt"
	"io"
)

const (
	// firstRead is what Read allocates if it is given no room: the hellos of
	// today's clients, with a post-quantum key share, are below 2 KiB.
	firstRead = 4 << 10

	// maxEmptyReads is how often in a row the reader may return nothing and no
	// error, as in bufio.
	maxEmptyReads = 100
)

// Read reads a ClientHello from r and judges it. As append does, it takes b's
// bytes for the beginning (what the client sent early), uses b's room, and
// returns b made longer: every byte that came from r, in order, among them
// those that follow the hello. That holds for every error too, so that the
// caller can forward or record what was read. It reads no more once the hello is
// complete or refused. The Hello holds no reference to b.
//
// With room for the hello in b it allocates nothing; otherwise it allocates at
// most twice what was sent and never above MaxBytes.
//
// The error is an ErrNotTLS, or else what r returned, wrapped: a deadline that
// has passed is still os.ErrDeadlineExceeded. A connection that ends too soon is
// both an ErrNotTLS and an io.ErrUnexpectedEOF, or an io.EOF if it ends
// before the first byte.
func Read(r io.Reader, b []byte) ([]byte, Hello, error) {
	var p Parser
	for {
		h, err := p.Parse(b)
		if !errors.Is(err, ErrIncomplete) {
			return b, h, err
		}
		if len(b) == cap(b) {
			b = grow(b)
		}
		n, err := readSome(r, b[len(b):cap(b)])
		b = b[:len(b)+n]
		if n == 0 {
			return b, Hello{}, readError(err, len(b))
		}
	}
}

// readSome reads until there is something. Bytes that come with an error go
// first: if they do not complete the hello, the reader returns the error again.
func readSome(r io.Reader, buf []byte) (int, error) {
	for range maxEmptyReads {
		if n, err := r.Read(buf); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// readError is the error of a reader that failed after n bytes of a hello.
func readError(err error, n int) error {
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the ClientHello: %w", err)
	}
	if n > 0 {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %w", ErrNotTLS, err)
}

// grow returns b with more room, at most MaxBytes in all. The caller has parsed b
// and found it incomplete, so b is shorter than that.
func grow(b []byte) []byte {
	bigger := make([]byte, len(b), min(max(2*cap(b), firstRead), MaxBytes))
	copy(bigger, b)
	return bigger
}
