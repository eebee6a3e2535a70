package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// The ways in which a request head can be wrong. Each becomes one status.
var (
	errBadHead    = errors.New("malformed request head")         // 400
	errBigHead    = errors.New("request head over the limit")    // 431
	errManyFields = errors.New("head has too many fields")       // 431
	errBadVersion = errors.New("HTTP version is not 1.0 or 1.1") // 505
	errBadCoding  = errors.New("transfer coding is not chunked") // 501
)

// smallHead is up to how many bytes a head may be held for as long as its target is,
// which for a tunnel is hours: copying a few bytes costs more than holding them.
const smallHead = 512

// maxFields bounds the fields of a head, of a request as of an answer. What reads
// and forwards a head holds many times the bytes of a field that has two letters, so
// the bytes are no bound by themselves. Clients and origins send a tenth of it.
const maxFields = 128

// head is a request line and its fields, as they came and checked against the
// grammar of RFC 9112 without its leniencies: lines end in CRLF, there is
// exactly one space where the grammar has one, nothing is folded, no byte is a
// control. Whatever a second parser might read differently is refused here.
type head struct {
	raw    string // the whole head, its empty line included
	method string
	target string
	minor  int // HTTP/1.minor

	hosts         []string // values of Host
	authorization []string // values of Proxy-Authorization
	lengths       []string // values of Content-Length
	codings       []string // values of Transfer-Encoding
	expect        []string // values of Expect
	via           []string // values of Via
	close         bool     // Connection has the option close
	keepAlive     bool     // Connection has the option keep-alive
}

var (
	crlf    = []byte("\r\n")
	headEnd = []byte("\r\n\r\n")
)

// endOfHead returns the length of the head at the beginning of b, its empty
// line included, or 0 while that has not come. It looks only at what came
// since the call that looked at the first `seen` bytes.
func endOfHead(b []byte, seen int) int {
	from := max(seen-len(headEnd)+1, 0)
	if i := bytes.Index(b[from:], headEnd); i >= 0 {
		return from + i + len(headEnd)
	}
	return 0
}

// hopeless tells early that b cannot become a head, so that a client that
// speaks something else is answered and not waited for: it does not begin with
// a method, its first line is not a request line, or a line ends in a bare LF. It
// looks only at what came since the call that looked at the first `seen` bytes.
func hopeless(b []byte, seen int) bool {
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

// parseHead parses a whole head. The errors are errBadHead, errManyFields,
// errBadVersion and errBadCoding, wrapped; they quote nothing of the head. Even with an error
// the method and target are set as far as they were understood.
func parseHead(raw string) (*head, error) {
	h := &head{raw: raw}
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
		if n > maxFields {
			return h, errManyFields
		}
		if err := h.field(line); err != nil {
			return h, err
		}
	}
	if rest != "" {
		return h, fmt.Errorf("%w: bytes behind the empty line", errBadHead)
	}
	return h, h.framing()
}

// requestLine parses method SP request-target SP HTTP-version (RFC 9112,
// section 3).
func (h *head) requestLine(line string) error {
	method, rest, ok := strings.Cut(line, " ")
	if !ok || method == "" || !allBytes(method, isToken) {
		return fmt.Errorf("%w: the request line has no method", errBadHead)
	}
	h.method = method
	target, version, ok := strings.Cut(rest, " ")
	if !ok || target == "" {
		return fmt.Errorf("%w: the request line has no target or no version", errBadHead)
	}
	if !allBytes(target, isFieldValue) || strings.Contains(target, "\t") {
		return fmt.Errorf("%w: the target has a control byte", errBadHead)
	}
	h.target = target
	return h.version(version)
}

// version parses HTTP-version (RFC 9112, section 2.3).
func (h *head) version(s string) error {
	switch s {
	case "HTTP/1.1":
		h.minor = 1
		return nil
	case "HTTP/1.0":
		return nil
	}
	number, ok := strings.CutPrefix(s, "HTTP/")
	if ok && len(number) == 3 && isDigit(number[0]) && number[1] == '.' && isDigit(number[2]) {
		return errBadVersion
	}
	return fmt.Errorf("%w: the request line does not end in a version", errBadHead)
}

// field parses one field line (RFC 9112, section 5) and keeps the values that
// the proxy acts on.
func (h *head) field(line string) error {
	name, value, ok := strings.Cut(line, ":")
	if !ok || name == "" || !allBytes(name, isToken) {
		return fmt.Errorf("%w: a field line has no name", errBadHead)
	}
	if !allBytes(value, isFieldValue) {
		return fmt.Errorf("%w: a field value has a control byte", errBadHead)
	}
	// Names have few lengths; most fields end at this switch.
	switch len(name) {
	case len("Via"), len("Host"), len("Expect"), len("Connection"), len("Content-Length"),
		len("Transfer-Encoding"), len("Proxy-Authorization"):
		h.keep(name, value)
	}
	return nil
}

// keep stores the value of a field that the proxy acts on. Values that frame
// or route keep their inner white space, so that strict parsers refuse it.
func (h *head) keep(name, value string) {
	exact := strings.TrimPrefix(value, " ")
	switch {
	case strings.EqualFold(name, "Proxy-Authorization"):
		h.authorization = append(h.authorization, exact)
	case strings.EqualFold(name, "Host"):
		h.hosts = append(h.hosts, exact)
	case strings.EqualFold(name, "Content-Length"):
		h.lengths = append(h.lengths, exact)
	case strings.EqualFold(name, "Transfer-Encoding"):
		h.codings = append(h.codings, exact)
	case strings.EqualFold(name, "Expect"):
		h.expect = append(h.expect, strings.Trim(value, " \t"))
	case strings.EqualFold(name, "Via"):
		h.via = append(h.via, value)
	case strings.EqualFold(name, "Connection"):
		for option := range strings.SplitSeq(value, ",") {
			option = strings.Trim(option, " \t")
			h.close = h.close || strings.EqualFold(option, "close")
			h.keepAlive = h.keepAlive || strings.EqualFold(option, "keep-alive")
		}
	}
}

// framing checks that the message has one length that every parser agrees on
// (RFC 9112, section 6.3): one Transfer-Encoding of chunked, or one plain
// decimal Content-Length, or neither.
func (h *head) framing() error {
	switch {
	case len(h.codings) > 0 && len(h.lengths) > 0:
		return fmt.Errorf("%w: both Content-Length and Transfer-Encoding", errBadHead)
	case len(h.codings) > 1, len(h.codings) == 1 && h.minor == 0:
		return fmt.Errorf("%w: Transfer-Encoding twice or in HTTP/1.0", errBadHead)
	case len(h.codings) == 1 && !strings.EqualFold(h.codings[0], "chunked"):
		return errBadCoding
	case len(h.lengths) > 1:
		return fmt.Errorf("%w: Content-Length twice", errBadHead)
	case len(h.lengths) == 1 && !isLength(h.lengths[0]):
		return fmt.Errorf("%w: Content-Length is no plain number", errBadHead)
	}
	return nil
}

// request makes net/http's request of a head that has no content behind it,
// without URL and Host; the field Host is not the one that is sent. What the grammar let through needs no second parser.
func (h *head) request() *http.Request {
	_, rest, _ := strings.Cut(h.raw, "\r\n")
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
		Method: h.method, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: fields, Body: http.NoBody,
	}
}

// hasBody reports whether content follows the head.
func (h *head) hasBody() bool {
	return len(h.codings) > 0 || len(h.lengths) > 0 && h.lengths[0] != "0"
}

// persistent reports whether the client wants the connection kept (RFC 9112,
// section 9.3).
func (h *head) persistent() bool {
	if h.close {
		return false
	}
	return h.minor == 1 || h.keepAlive
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
