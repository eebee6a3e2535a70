package proxy_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// message is one request as an origin reads it.
type message struct {
	method, target string
	host           string
	framing        string // none, length or chunked
	body           string
	fields         [][2]string // names in lower case; not known of net/http's reading
}

// errPartial says that more bytes are needed.
var errPartial = errors.New("the message is not whole")

// reader is a strict parser. It shares nothing with net/http or the proxy, and
// it takes nothing that RFC 9112 only tolerates: what two parsers could read in
// two ways is an error.
type reader struct {
	// client lets through what a client may send and nobody forwards: HTTP/1.0
	// without a Host, chunk extensions and trailers, an empty line before the request
	// line and tabs around values.
	client bool
}

// read reads the request at the beginning of b and returns its length.
func (r reader) read(b []byte) (m message, n int, err error) {
	if rest, ok := bytes.CutPrefix(b, []byte("\r\n")); ok && r.client && !bytes.HasPrefix(rest, []byte("\r\n")) {
		m, n, err = r.read(rest)
		return m, n + 2, err
	}
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return m, 0, errors.Join(errPartial, lineErrors(b))
	}
	lines := strings.Split(string(b[:end]), "\r\n")
	for i, line := range lines {
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return m, 0, fmt.Errorf("a control byte in %q", line)
		}
		if i > 0 {
			if err := m.field(line, r.space()); err != nil {
				return m, 0, err
			}
		}
	}
	words := strings.Split(lines[0], " ")
	old := len(words) == 3 && words[2] == "HTTP/1.0" && r.client
	if len(words) != 3 || words[2] != "HTTP/1.1" && !old || !token(words[0]) || words[1] == "" || strings.ContainsAny(words[1], "\t#\\") {
		return m, 0, fmt.Errorf("the request line is %q", lines[0])
	}
	m.method, m.target = words[0], words[1]
	if old && len(m.values("host")) == 0 {
		m.fields = append(m.fields, [2]string{"host", ""})
	}
	if old && len(m.values("transfer-encoding")) > 0 {
		return m, 0, errors.New("a coding in HTTP/1.0")
	}
	n, err = r.content(&m, b[end+4:])
	return m, end + 4 + n, err
}

// lineErrors says what is wrong with the part of a head that is there.
func lineErrors(b []byte) error {
	for i, c := range b {
		if c == '\n' && (i == 0 || b[i-1] != '\r') || c == '\r' && i+1 < len(b) && b[i+1] != '\n' {
			return fmt.Errorf("a bare line end in %q", b)
		}
	}
	return nil
}

// space is what may stand around a value.
func (r reader) space() string {
	if r.client {
		return " \t"
	}
	return " "
}

// field takes one field line.
func (m *message) field(line, space string) error {
	name, value, ok := strings.Cut(line, ":")
	if !ok || !token(name) {
		return fmt.Errorf("the field line %q has no name", line)
	}
	m.fields = append(m.fields, [2]string{strings.ToLower(name), strings.Trim(value, space)})
	return nil
}

// values returns the values of a field.
func (m *message) values(name string) (all []string) {
	for _, f := range m.fields {
		if f[0] == name {
			all = append(all, f[1])
		}
	}
	return all
}

// content reads the body by the one framing that there is.
func (r reader) content(m *message, b []byte) (n int, err error) {
	hosts, lengths, codings := m.values("host"), m.values("content-length"), m.values("transfer-encoding")
	if len(hosts) != 1 || len(lengths)+len(codings) > 1 {
		return 0, fmt.Errorf("hosts %q, lengths %q, codings %q", hosts, lengths, codings)
	}
	m.host, m.framing = hosts[0], "none"
	switch {
	case len(lengths) == 1:
		m.framing = "length"
		size, err := strconv.ParseUint(lengths[0], 10, 62)
		if err != nil || strconv.FormatUint(size, 10) != lengths[0] {
			return 0, fmt.Errorf("the length is %q", lengths[0])
		}
		if uint64(len(b)) < size {
			return 0, errPartial
		}
		m.body = string(b[:size])
		return int(size), nil
	case len(codings) == 1:
		m.framing = "chunked"
		if codings[0] != "chunked" && !(r.client && strings.EqualFold(codings[0], "chunked")) {
			return 0, fmt.Errorf("the coding is %q", codings[0])
		}
		return r.chunks(m, b)
	}
	return 0, nil
}

// chunks reads chunks and the end of the body.
func (r reader) chunks(m *message, b []byte) (n int, err error) {
	for {
		line, rest, ok := bytes.Cut(b[n:], []byte("\r\n"))
		if !ok {
			return 0, errors.Join(errPartial, lineErrors(b[n:]))
		}
		n += len(line) + 2
		size, err := r.chunkSize(string(line))
		if err != nil {
			return 0, err
		}
		if size == 0 {
			end, err := r.trailers(rest)
			return n + end, err
		}
		if len(rest) < size+2 {
			return 0, errPartial
		}
		if string(rest[size:size+2]) != "\r\n" {
			return 0, fmt.Errorf("behind a chunk of %d comes %q", size, rest[size:size+2])
		}
		m.body += string(rest[:size])
		n += size + 2
	}
}

// chunkSize parses a chunk's size; of a client also what may stand behind it.
func (r reader) chunkSize(line string) (int, error) {
	digits, extension, _ := strings.Cut(line, ";")
	if r.client {
		digits = strings.TrimRight(digits, " \t")
	} else if digits != line {
		return 0, fmt.Errorf("an extension in %q", line)
	}
	size, err := strconv.ParseUint(digits, 16, 31)
	if err != nil || strings.ContainsAny(digits, "_+-") || strings.ContainsAny(extension, "\r\n") {
		return 0, fmt.Errorf("the chunk size is %q", line)
	}
	return int(size), nil
}

// trailers reads to the empty line behind the last chunk.
func (r reader) trailers(b []byte) (n int, err error) {
	for {
		line, _, ok := bytes.Cut(b[n:], []byte("\r\n"))
		if !ok {
			return 0, errors.Join(errPartial, lineErrors(b[n:]))
		}
		n += len(line) + 2
		if len(line) == 0 {
			return n, nil
		}
		if err := new(message).field(string(line), r.space()); err != nil || !r.client || bytes.ContainsAny(line, "\x00\r\n\x7f") {
			return 0, fmt.Errorf("the trailer %q, %w", line, err)
		}
	}
}

// token reports whether s is one (RFC 9110, section 5.6.2).
func token(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// readLeniently reads b, which must be one whole request, by net/http.
func readLeniently(b []byte) (m message, err error) {
	// A percent sign that encodes nothing is refused by net/url, and is no second reading.
	line, below, _ := bytes.Cut(b, []byte("\n"))
	line = bytes.ReplaceAll(line, []byte("%"), []byte("~"))
	br := bufio.NewReader(io.MultiReader(bytes.NewReader(line), strings.NewReader("\n"), bytes.NewReader(below)))
	r, err := http.ReadRequest(br)
	if err != nil {
		return m, err
	}
	r.RequestURI = string(b[len(r.Method)+1:][:len(r.RequestURI)])
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return m, err
	}
	if rest, _ := io.ReadAll(br); len(rest) > 0 || len(r.Trailer) > 0 {
		return m, fmt.Errorf("behind the request it leaves %q, trailers %v", rest, r.Trailer)
	}
	m = message{method: r.Method, target: r.RequestURI, host: r.Host, framing: "none", body: string(body)}
	switch {
	case len(r.TransferEncoding) > 0:
		m.framing = fmt.Sprint(r.TransferEncoding[0])
	case r.Header.Get("Content-Length") != "":
		m.framing = "length"
	}
	return m, nil
}
