package hello

import (
	"errors"
	"fmt"
)

// The record layer and the handshake header (RFC 8446, sections 5.1 and 4).
const (
	recordHeader    = 5       // type, version (2), length (2)
	maxRecord       = 1 << 14 // bytes of payload in a record
	typeHandshake   = 22      // record type
	messageHeader   = 4       // type, length (3)
	typeClientHello = 1       // handshake type
)

// Parser finds the ClientHello in bytes that arrive little by little, and looks
// at each of them once however small the pieces are. The zero Parser is ready;
// one serves one connection. It keeps no bytes.
type Parser struct {
	off   int                 // bytes of the input dealt with
	left  int                 // bytes of payload that the current record still has
	got   int                 // bytes of the handshake message seen, its header included
	size  int                 // its body's length; 0 while the header is not complete
	whole bool                // the message lies in one record so far
	head  [messageHeader]byte // its header, which may be spread over records
	err   error               // what the parser refused for; nil while it has not
}

// Parse judges everything that was read from the connection so far: b holds the
// bytes of the call before, unchanged, and whatever came since. It returns
// ErrIncomplete until the hello is there in full, and refuses what can no
// longer become one as soon as that shows: on the first byte, mostly, and for a
// length that is too large on the ninth. What follows the hello's record is not
// looked at. Any other error is an ErrNotTLS and final.
//
// It allocates nothing for a hello in one record. For one that is spread over
// several it allocates once, when all of it has arrived, as much as it is long.
func (p *Parser) Parse(b []byte) (Hello, error) {
	if p.err != nil {
		return Hello{}, p.err
	}
	h, err := p.parse(b[:min(len(b), MaxBytes)])
	if errors.Is(err, ErrIncomplete) {
		if len(b) < MaxBytes {
			return Hello{}, err
		}
		err = ErrTooLarge
	}
	p.err = err
	return h, err
}

// parse is Parse without the limit and without the memory of what failed.
func (p *Parser) parse(b []byte) (Hello, error) {
	for p.got < messageHeader+p.size {
		if p.off >= len(b) {
			return Hello{}, ErrIncomplete
		}
		if err := p.step(b[p.off:]); err != nil {
			return Hello{}, err
		}
	}
	if p.left > 0 {
		// No client has anything to say before the server's answer, and a
		// server may read these bytes as a second message or not at all.
		return Hello{}, fmt.Errorf("%w: %d bytes behind the hello in its record", ErrMalformed, p.left)
	}
	return parseMessage(p.body(b))
}

// step deals with the start of b: a record header, bytes of the message's
// header, or bytes of its body, as far as they go.
func (p *Parser) step(b []byte) error {
	if p.left == 0 {
		return p.record(b)
	}
	n := min(p.left, len(b))
	if p.got < messageHeader {
		n = copy(p.head[p.got:], b[:n])
	} else {
		n = min(n, messageHeader+p.size-p.got)
	}
	p.off, p.left, p.got = p.off+n, p.left-n, p.got+n
	return p.message()
}

// record reads a record header. It refuses a wrong one by as many of its bytes
// as have arrived: a client that waits to be greeted shall not be waited for.
func (p *Parser) record(b []byte) error {
	malformed := ErrNotTLS
	if p.got > 0 {
		malformed = ErrMalformed
	}
	if b[0] != typeHandshake {
		return fmt.Errorf("%w: first byte of a record is %#02x", malformed, b[0])
	}
	if len(b) > 1 && b[1] != 3 {
		return fmt.Errorf("%w: major version of a record is %d", malformed, b[1])
	}
	if len(b) < recordHeader {
		return ErrIncomplete
	}
	n := int(b[3])<<8 | int(b[4])
	if n == 0 || n > maxRecord {
		return fmt.Errorf("%w: length of a record is %d", malformed, n)
	}
	p.whole = p.got == 0
	p.off, p.left = p.off+recordHeader, n
	return nil
}

// message judges the message's header by as much of it as is there.
func (p *Parser) message() error {
	if p.head[0] != typeClientHello {
		return fmt.Errorf("%w: handshake message of type %d", ErrNotTLS, p.head[0])
	}
	if p.got < messageHeader {
		return nil
	}
	p.size = int(p.head[1])<<16 | int(p.head[2])<<8 | int(p.head[3])
	if p.size > MaxHello {
		return fmt.Errorf("%w: %d bytes declared", ErrTooLarge, p.size)
	}
	return nil
}

// body returns the message without its header. All of it is in b.
func (p *Parser) body(b []byte) []byte {
	if p.whole {
		return b[p.off-p.size : p.off]
	}
	body := make([]byte, 0, messageHeader+p.size)
	for off := 0; off < p.off; {
		n := int(b[off+3])<<8 | int(b[off+4])
		off += recordHeader
		body = append(body, b[off:off+n]...)
		off += n
	}
	return body[messageHeader:]
}
