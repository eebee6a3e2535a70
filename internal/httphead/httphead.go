// Package httphead reads the head of an HTTP/1.1 request by the grammar of RFC 9112
// without its leniencies, but for two that have no second reading: an empty line before
// the request line (section 2.2), and white space around field values (section 5.1).
//
// What it does: it finds the end of a head, parses request line and fields, keeps the
// values that a proxy acts on, and parses the absolute form of a target. Whatever a
// second parser could read differently is an error. It is pure: bytes in, a [Head] or
// an error out.
//
// What it does not do: it reads no connection, and knows neither policy nor callers.
//
//	skip, _ := httphead.EmptyLine(b)
//	if n := httphead.End(b, 0); n > 0 {
//		h, err := httphead.Parse(string(b[:n]))
package httphead

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// The ways in which a request head can be wrong. Each becomes one status.
var (
	ErrMalformed     = errors.New("malformed request head")         // 400
	ErrTooLarge      = errors.New("request head over the limit")    // 431
	ErrTooManyFields = errors.New("head has too many fields")       // 431
	ErrVersion       = errors.New("HTTP version is not 1.0 or 1.1") // 505
	ErrCoding        = errors.New("transfer coding is not chunked") // 501
)

// smallHead is up to how many bytes a head may be held for as long as its target is,
// which for a tunnel is hours: copying a few bytes costs more than holding them.
const smallHead = 512

// MaxFields bounds the fields of a head, of a request as of an answer. What reads
// and forwards a head holds many times the bytes of a field that has two letters, so
// the bytes are no bound by themselves. Clients and origins send a tenth of it.
const MaxFields = 128

// Head is a request line and its fields, as they came and checked against the
// grammar of RFC 9112 without its leniencies: lines end in CRLF, there is
// exactly one space where the grammar has one, nothing is folded, no byte is a
// control. White space around a field's value belongs to none (RFC 9112, section 5.1).
// Whatever a second parser might read differently is refused here.
type Head struct {
	Raw    string // the whole head, its empty line included; Content-Length without white space around its value
	Method string
	Target string
	Minor  int // HTTP/1.minor

	Hosts         []string // values of Host
	Authorization []string // values of Proxy-Authorization
	Lengths       []string // values of Content-Length
	Codings       []string // values of Transfer-Encoding
	Expect        []string // values of Expect
	Via           []string // values of Via
	Close         bool     // Connection has the option close
	KeepAlive     bool     // Connection has the option keep-alive

	respell bool      // Content-Length has white space around its value
	first   [2]string // where the first values of Authorization and Hosts are
}

var (
	crlf    = []byte("\r\n")
	headEnd = []byte("\r\n\r\n")
)

// EmptyLine returns the length of the empty line at the beginning of b, which a server
// ignores before a request line (RFC 9112, section 2.2); 0: there is none. Partial says
// that b may become one. Some clients send it behind content. Who reads a head takes one
// and no more.
func EmptyLine(b []byte) (n int, partial bool) {
	if bytes.HasPrefix(b, crlf) {
		return len(crlf), false
	}
	return 0, len(b) == 0 || len(b) == 1 && b[0] == '\r'
}

// End returns the length of the head at the beginning of b, its empty
// line included, or 0 while that has not come. It looks only at what came
// since the call that looked at the first `seen` bytes.
func End(b []byte, seen int) int {
	from := max(seen-len(headEnd)+1, 0)
	if i := bytes.Index(b[from:], headEnd); i >= 0 {
		return from + i + len(headEnd)
	}
	return 0
}

// CannotBeHTTP tells early that b cannot become a head, so that a client that
// speaks something else is answered and not waited for: it does not begin with
// a method, its first line is not a request line, or a line ends in a bare LF. It
// looks only at what came since the call that looked at the first `seen` bytes.
func CannotBeHTTP(b []byte, seen int) bool {
	if len(b) == 0 {
		return false
	}
	if !isToken(b[0]) {
		return true
	}
	for i := seen; i < len(b); i++ {
		if b[i] == '\n' && b[i-1] != '\r' {
			return true
		}
	}
	line, _, whole := bytes.Cut(b, crlf)
	return whole && !bytes.Contains(line, []byte(" HTTP/"))
}

// Parse parses a whole head. The errors are ErrMalformed, ErrTooManyFields,
// ErrVersion and ErrCoding, wrapped; they quote nothing of the head. Even with an error
// the method and target are set as far as they were understood.
func Parse(raw string) (*Head, error) {
	h := &Head{Raw: raw}
	h.Authorization, h.Hosts = h.first[0:0:1], h.first[1:1:2]
	line, rest, _ := strings.Cut(raw, "\r\n")
	if len(raw) > smallHead {
		line = strings.Clone(line)
	}
	if err := h.requestLine(line); err != nil {
		return h, err
	}
	for n := 1; ; n++ {
		line, rest, _ = strings.Cut(rest, "\r\n")
		if line == "" {
			break
		}
		if n > MaxFields {
			return h, ErrTooManyFields
		}
		if err := h.field(line); err != nil {
			return h, err
		}
	}
	if rest != "" {
		return h, fmt.Errorf("%w: bytes behind the empty line", ErrMalformed)
	}
	if err := h.framing(); err != nil {
		return h, err
	}
	h.spellLength()
	return h, nil
}

// spellLength takes the white space around the value of Content-Length out of Raw: whoever
// the head goes on to may read it otherwise.
func (h *Head) spellLength() {
	if !h.respell {
		return
	}
	var b strings.Builder
	for line := range strings.SplitAfterSeq(h.Raw, "\r\n") {
		if name, _, ok := strings.Cut(line, ":"); ok && strings.EqualFold(name, "Content-Length") {
			line = name + ": " + h.Lengths[0] + "\r\n"
		}
		b.WriteString(line)
	}
	h.Raw = b.String()
}

// requestLine parses method SP request-target SP HTTP-version (RFC 9112,
// section 3).
func (h *Head) requestLine(line string) error {
	method, rest, ok := strings.Cut(line, " ")
	if !ok || method == "" || !allBytes(method, isToken) {
		return fmt.Errorf("%w: the request line has no method", ErrMalformed)
	}
	h.Method = method
	target, version, ok := strings.Cut(rest, " ")
	if !ok || target == "" {
		return fmt.Errorf("%w: the request line has no target or no version", ErrMalformed)
	}
	if !allBytes(target, isFieldValue) || strings.Contains(target, "\t") {
		return fmt.Errorf("%w: the target has a control byte", ErrMalformed)
	}
	h.Target = target
	return h.version(version)
}

// version parses HTTP-version (RFC 9112, section 2.3).
func (h *Head) version(s string) error {
	switch s {
	case "HTTP/1.1":
		h.Minor = 1
		return nil
	case "HTTP/1.0":
		return nil
	}
	number, ok := strings.CutPrefix(s, "HTTP/")
	if ok && len(number) == 3 && isDigit(number[0]) && number[1] == '.' && isDigit(number[2]) {
		return ErrVersion
	}
	return fmt.Errorf("%w: the request line does not end in a version", ErrMalformed)
}

// field parses one field line (RFC 9112, section 5) and keeps the values that
// the proxy acts on.
func (h *Head) field(line string) error {
	name, value, err := splitField(line)
	if err != nil {
		return err
	}
	// Names have few lengths; most fields end at this switch.
	switch len(name) {
	case len("Via"), len("Host"), len("Expect"), len("Connection"), len("Content-Length"),
		len("Transfer-Encoding"), len("Proxy-Authorization"):
		h.storeField(name, value)
	}
	return nil
}

// storeField stores the value of a field that the proxy acts on. Transfer-Encoding keeps
// white space but for one space in front of it, so that it is refused: more of it has
// hidden the field from one of two parsers.
func (h *Head) storeField(name, value string) {
	trimmed := strings.Trim(value, " \t")
	switch {
	case strings.EqualFold(name, "Proxy-Authorization"):
		h.Authorization = append(h.Authorization, trimmed)
	case strings.EqualFold(name, "Host"):
		h.Hosts = append(h.Hosts, trimmed)
	case strings.EqualFold(name, "Content-Length"):
		h.Lengths = append(h.Lengths, trimmed)
		h.respell = h.respell || strings.TrimPrefix(value, " ") != trimmed
	case strings.EqualFold(name, "Transfer-Encoding"):
		h.Codings = append(h.Codings, strings.TrimPrefix(value, " "))
	case strings.EqualFold(name, "Expect"):
		h.Expect = append(h.Expect, trimmed)
	case strings.EqualFold(name, "Via"):
		h.Via = append(h.Via, value)
	case strings.EqualFold(name, "Connection"):
		for option := range strings.SplitSeq(value, ",") {
			option = strings.Trim(option, " \t")
			h.Close = h.Close || strings.EqualFold(option, "close")
			h.KeepAlive = h.KeepAlive || strings.EqualFold(option, "keep-alive")
		}
	}
}

// framing checks that the message has one length that every parser agrees on
// (RFC 9112, section 6.3): one Transfer-Encoding of chunked, or one plain
// decimal Content-Length, or neither.
func (h *Head) framing() error {
	switch {
	case len(h.Codings) > 0 && len(h.Lengths) > 0:
		return fmt.Errorf("%w: both Content-Length and Transfer-Encoding", ErrMalformed)
	case len(h.Codings) > 1, len(h.Codings) == 1 && h.Minor == 0:
		return fmt.Errorf("%w: Transfer-Encoding twice or in HTTP/1.0", ErrMalformed)
	case len(h.Codings) == 1 && !strings.EqualFold(h.Codings[0], "chunked"):
		return ErrCoding
	case len(h.Lengths) > 1:
		return fmt.Errorf("%w: Content-Length twice", ErrMalformed)
	case len(h.Lengths) == 1 && !isLength(h.Lengths[0]):
		return fmt.Errorf("%w: Content-Length is no plain number", ErrMalformed)
	}
	return nil
}

// Request makes net/http's request of a head that has no content behind it,
// without URL and Host; the field Host is not the one that is sent. What the grammar let through needs no second parser.
func (h *Head) Request() *http.Request {
	_, rest, _ := strings.Cut(h.Raw, "\r\n")
	n := strings.Count(rest, "\r\n") - 1
	fields, values := make(http.Header, n), make([]string, 0, n)
	for range n {
		var line string
		line, rest, _ = strings.Cut(rest, "\r\n")
		name, value, _ := strings.Cut(line, ":")
		name = http.CanonicalHeaderKey(name)
		value = strings.Trim(value, " \t")
		if have := fields[name]; have != nil {
			fields[name] = append(have, value)
			continue
		}
		values = append(values, value)
		fields[name] = values[len(values)-1 : len(values) : len(values)]
	}
	return &http.Request{
		Method: h.Method, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: fields, Body: http.NoBody,
	}
}

// HasContent reports whether content follows the head.
func (h *Head) HasContent() bool {
	return len(h.Codings) > 0 || len(h.Lengths) > 0 && h.Lengths[0] != "0"
}

// Persistent reports whether the client wants the connection kept (RFC 9112,
// section 9.3).
func (h *Head) Persistent() bool {
	if h.Close {
		return false
	}
	return h.Minor == 1 || h.KeepAlive
}

// isLength reports whether s is a decimal number without sign or leading zero
// that fits an int64.
func isLength(s string) bool {
	return s != "" && len(s) <= 18 && (s == "0" || s[0] != '0') && allBytes(s, isDigit)
}

// allBytes reports whether ok holds for every byte of s.
func allBytes(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isToken reports whether c may stand in a token (RFC 9110, section 5.6.2).
func isToken(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || isDigit(c) ||
		strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// isFieldValue reports whether c may stand in a field value: visible ASCII,
// obs-text, space and tab (RFC 9110, section 5.5).
func isFieldValue(c byte) bool { return c >= 0x20 && c != 0x7f || c == '\t' }
