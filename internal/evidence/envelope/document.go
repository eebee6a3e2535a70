package envelope

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence/jsonscan"
)

// errDocument is an envelope that is not what its beginning promises.
var errDocument = errors.New("the document of log events is damaged")

// maxKey is how long a key of a document is looked at.
const maxKey = 256

// document reads one object with log events and gives their messages. It keeps
// one message at a time: such an object can be as long as the log.
func (r *reader) document() error {
	r.control = false
	if err := r.object(r.documentMember); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	// The newline behind it is not a line of its own.
	if next, _ := r.in.Peek(1); len(next) == 1 && next[0] == '\n' {
		_, _ = r.in.Discard(1)
	}
	return nil
}

// damaged says where a document is not what it should be.
func (r *reader) damaged() error { return fmt.Errorf("behind event %d: %w", r.number, errDocument) }

// documentMember takes the value of a member of the document.
func (r *reader) documentMember(key string) error {
	switch key {
	case "messageType":
		kind, _, err := r.text(maxKey)
		r.control = string(kind) == `"CONTROL_MESSAGE"`
		return err
	case "logEvents", "events":
		return r.events()
	}
	return r.skip()
}

// events reads the array of events.
func (r *reader) events() error {
	if err := r.expect('['); err != nil {
		return err
	}
	for first := true; ; first = false {
		c, err := r.byte()
		switch {
		case err != nil:
			return err
		case c == ']':
			return nil
		case c == ',' && !first:
		case c == '{' && first:
			_ = r.in.UnreadByte()
		default:
			return r.damaged()
		}
		if err := r.object(r.eventMember); err != nil {
			return err
		}
	}
}

// eventMember takes the value of a member of an event.
func (r *reader) eventMember(key string) error {
	if key != "message" || r.control {
		return r.skip()
	}
	// Escapes make twice as much of a line that has a quote at every other byte.
	quoted, long, err := r.text(2 * maxLine)
	if err != nil {
		return err
	}
	r.number++
	if long {
		return r.each(Line{File: r.file, Number: r.number, Raw: beginning(quoted)})
	}
	r.message = jsonscan.AppendUnquoted(r.message[:0], quoted)
	if len(r.message) > maxLine {
		return r.each(Line{File: r.file, Number: r.number, Raw: beginning(r.message)})
	}
	return r.give(bytes.TrimSuffix(r.message, []byte("\n")), true)
}

// byte returns the next byte that is not white space.
func (r *reader) byte() (byte, error) {
	for {
		c, err := r.in.ReadByte()
		if err != nil || !jsonscan.IsSpace(c) {
			return c, err
		}
	}
}

// expect skips white space and one given byte.
func (r *reader) expect(want byte) error {
	c, err := r.byte()
	if err == nil && c != want {
		return r.damaged()
	}
	return err
}

// object reads an object and calls member behind the colon of each key; member
// takes the value.
func (r *reader) object(member func(key string) error) error {
	if err := r.expect('{'); err != nil {
		return err
	}
	for first := true; ; first = false {
		c, err := r.byte()
		switch {
		case err != nil:
			return err
		case c == '}':
			return nil
		case c == ',' && !first:
		case c == '"' && first:
			_ = r.in.UnreadByte()
		default:
			return r.damaged()
		}
		name, err := r.key()
		if err != nil {
			return err
		}
		if err := r.expect(':'); err != nil {
			return err
		}
		if err := member(name); err != nil {
			return err
		}
	}
}

// key reads a key and returns its text; "" for one that is longer than any that is
// known: what is kept of it may end within an escape.
func (r *reader) key() (string, error) {
	quoted, long, err := r.text(maxKey)
	if err != nil || long {
		return "", err
	}
	return string(jsonscan.Unquote(quoted)), nil
}

// text reads a string and returns it with its quotes, valid until the next
// call. Of one that is longer than limit it returns the beginning.
func (r *reader) text(limit int) (quoted []byte, long bool, err error) {
	if err := r.expect('"'); err != nil {
		return nil, false, err
	}
	b := append(r.long[:0], '"')
	for {
		chunk, end, err := r.piece()
		if err != nil {
			return nil, false, err
		}
		if left := limit - len(b); len(chunk) > left {
			chunk, long = chunk[:max(left, 0)], true
		}
		b = append(b, chunk...)
		if end {
			break
		}
	}
	r.long = b
	if long {
		return append(b[:min(len(b), headLong)], '"'), true, nil
	}
	if !jsonscan.IsText(b) {
		return nil, false, r.damaged()
	}
	return b, false, nil
}

// piece reads the next piece of a string: an escape, the closing quote, which is
// the end, or what stands before one of these. It is valid until the next read.
func (r *reader) piece() (chunk []byte, end bool, err error) {
	chunk, err = r.in.Peek(max(r.in.Buffered(), 2)) // a document goes on behind a string
	if len(chunk) < 2 {
		return nil, false, err
	}
	n := 0
	for n < len(chunk) && chunk[n] != '"' && chunk[n] != '\\' {
		n++
	}
	switch {
	case n > 0:
	case chunk[0] == '"':
		n, end = 1, true
	default:
		n = 2
	}
	_, err = r.in.Discard(n)
	return chunk[:n], end, err
}

// skip reads one value of any kind.
func (r *reader) skip() error {
	for depth := 0; ; {
		c, err := r.byte()
		if err != nil {
			return err
		}
		switch c {
		case '"':
			_ = r.in.UnreadByte()
			_, _, err = r.text(maxKey)
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case ',', ':':
			if depth == 0 {
				return r.damaged()
			}
			continue
		default:
			err = r.literal()
		}
		if err != nil || depth <= 0 {
			return err
		}
	}
}

// literal reads the rest of a number, true, false or null.
func (r *reader) literal() error {
	for {
		c, err := r.in.ReadByte()
		if err != nil {
			return err
		}
		if jsonscan.IsSpace(c) || bytes.IndexByte([]byte(`,:"{}[]`), c) >= 0 {
			return r.in.UnreadByte()
		}
	}
}
