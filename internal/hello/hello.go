// Package hello reads the TLS ClientHello at the start of a connection and
// says whether the server name in it is the host that was asked for.
//
// It decides only on what every server reads the same way. A hello on which
// servers could differ (a server name given twice, bytes behind the message in
// its record, a name that is an address) is refused: otherwise the origin might
// serve one name where another was checked. For the same reason a hello is
// judged by its outer name when it uses Encrypted ClientHello (ECH): the name
// inside is readable to the origin alone.
//
// It does not terminate TLS, checks no certificate, and reads the first hello
// only. What a client says later (a second hello after a HelloRetryRequest, the
// Host header inside the tunnel) is not seen here. It opens no connection and
// starts no goroutine; the caller sets the deadlines of the reader it hands in.
//
// A proxy reads what the client sends first, decides, and forwards all of it:
//
//	first, h, err := hello.Read(conn, buf[:0])
//	if err == nil {
//		err = h.Check("api.example.com")
//	}
//	switch {
//	case err == nil: // write first to the origin, then copy
//	case errors.Is(err, hello.ErrNotTLS):
//	case errors.Is(err, hello.ErrMissing):
//	case errors.Is(err, hello.ErrMismatch):
//	default: // the reader failed: a deadline, a reset
//	}
//
// [Parser] is the same without the reading, for a caller with a buffer and a
// loop of its own.
package hello

import (
	"errors"
	"fmt"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

// The errors of this package, to be told apart with [errors.Is]. Three of them
// stand for whole classes: every error of [Parser.Parse] except ErrIncomplete
// is an ErrNotTLS, and every error of [Hello.Check] is an ErrMissing or an
// ErrMismatch.
var (
	// ErrIncomplete: nothing is wrong so far and the hello goes on; call again
	// with more bytes. Read never returns it.
	ErrIncomplete = errors.New("ClientHello is incomplete")

	// ErrNotTLS: the bytes do not begin with a TLS ClientHello that can be read.
	ErrNotTLS = errors.New("not a TLS ClientHello")

	// ErrTooLarge: the hello is longer than MaxHello, or takes more than
	// MaxBytes with its record headers. It is an ErrNotTLS as well.
	ErrTooLarge = fmt.Errorf("%w: too large", ErrNotTLS)

	// ErrMalformed: it begins like a ClientHello and then breaks the grammar of
	// RFC 8446, section 4.1.2. It is an ErrNotTLS as well.
	ErrMalformed = fmt.Errorf("%w: malformed", ErrNotTLS)

	// ErrMissing: the hello names no host: no server_name extension, or one
	// with nothing in it.
	ErrMissing = errors.New("ClientHello without a server name")

	// ErrMismatch: the hello names another host.
	ErrMismatch = errors.New("server name is not the host")

	// ErrBadName: the server name is not one host name (RFC 6066, section 3):
	// several names, an address, characters that no host name has. It is an
	// ErrMismatch as well.
	ErrBadName = fmt.Errorf("%w: not a host name", ErrMismatch)
)

const (
	// MaxHello is the longest ClientHello that is read, in bytes of the
	// handshake message without its 4-byte header. It is the limit of Go's own
	// TLS server, and more than any client in use sends.
	MaxHello = 64 << 10

	// MaxBytes is the most that a hello may take on the wire, with the record
	// headers. The 4 KiB of room are 800 headers: an ordinary hello may come in
	// records of one byte, a very long one may not.
	MaxBytes = MaxHello + 4<<10

	// maxName is how much of a server name is kept: no host name is longer.
	maxName = 255
)

// Hello is what a ClientHello says about where it wants to go. It holds no
// reference to the bytes it was read from. The zero Hello names no host and
// matches none.
type Hello struct {
	// HasSNI tells that a server_name extension was sent, be it empty or
	// unusable. False means that the client named no host.
	HasSNI bool

	// ECH tells that an encrypted_client_hello extension of the outer kind
	// (RFC 9849) was sent. That may be a real one or GREASE, which no one but the
	// origin can tell apart. False means that the server name is the only one.
	ECH bool

	several bool  // the server_name list held more, or else, than one host_name
	long    bool  // the name did not fit in name
	size    uint8 // bytes of name in use; 0: it has none
	name    [maxName]byte
}

// ServerName returns the server name as it was sent, cut off after 255 bytes:
// text that a stranger chose, in any bytes whatever. Of several names it
// is the first. It is empty where there was none.
func (h Hello) ServerName() string { return string(h.name[:h.size]) }

// Matches reports whether Check finds nothing wrong.
func (h Hello) Matches(host string) bool { return h.Check(host) == nil }

// Check returns nil if the hello names host and nothing else, and otherwise
// ErrMissing, ErrMismatch or ErrBadName. The host is in canonical form: lower
// case, A-labels, no trailing dot. Of the server name the ASCII case and one
// trailing dot are ignored. No address matches, since none may stand in a
// server name. It does not allocate.
func (h Hello) Check(host string) error {
	if h.size == 0 && !h.several {
		return ErrMissing
	}
	name := h.name[:h.size]
	if h.several || h.long || !hostname.IsServerName(name) {
		return ErrBadName
	}
	if !hostname.EqualServerName(name, host) {
		return ErrMismatch
	}
	return nil
}
