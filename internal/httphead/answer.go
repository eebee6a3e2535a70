package httphead

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// Answer is a status line and its fields, as they came and checked by the grammar of
// RFC 9112 without its leniencies, but for the one that all readers have: behind the
// status nothing need come. What two readers could take differently is refused: a
// client would take for the content what was none.
type Answer struct {
	Raw    string // the whole head, its empty line included
	Minor  int    // HTTP/1.minor
	Status int
	Phrase string // may be empty

	Length    int64  // of Content-Length; -1: there is none
	Chunked   bool   // Transfer-Encoding is chunked
	Upgrade   string // values of Upgrade, a list
	Close     bool   // Connection has the option close
	KeepAlive bool   // Connection has the option keep-alive
	Fields    int    // how many there are
}

// ParseAnswer parses the whole head of an answer. The errors are ErrMalformed,
// ErrTooManyFields, ErrVersion and ErrCoding, wrapped; they quote nothing of the head.
func ParseAnswer(raw string) (a Answer, err error) {
	a.Raw, a.Length = raw, -1
	line, rest, _ := strings.Cut(raw, "\r\n")
	if err := a.statusLine(line); err != nil {
		return a, err
	}
	coded := false
	for {
		line, rest, _ = strings.Cut(rest, "\r\n")
		if line == "" {
			break
		}
		if a.Fields++; a.Fields > MaxFields {
			return a, ErrTooManyFields
		}
		name, value, err := splitField(line)
		if err != nil {
			return a, err
		}
		if err := a.field(name, strings.Trim(value, " \t"), &coded); err != nil {
			return a, err
		}
	}
	switch {
	case rest != "":
		return a, fmt.Errorf("%w: bytes behind the empty line", ErrMalformed)
	case a.Chunked && a.Length >= 0:
		return a, fmt.Errorf("%w: both Content-Length and Transfer-Encoding", ErrMalformed)
	case coded && a.Minor == 0:
		return a, fmt.Errorf("%w: Transfer-Encoding in HTTP/1.0", ErrMalformed) // RFC 9112, section 6.1
	}
	return a, nil
}

// statusLine parses HTTP-version SP status-code SP [ reason-phrase ] (RFC 9112, section
// 4); the second space may be missing with the phrase.
func (a *Answer) statusLine(line string) error {
	version, rest, _ := strings.Cut(line, " ")
	switch version {
	case "HTTP/1.1":
		a.Minor = 1
	case "HTTP/1.0":
	default:
		return ErrVersion
	}
	code, phrase, _ := strings.Cut(rest, " ")
	if len(code) != 3 || !allBytes(code, isDigit) || code[0] == '0' || !allBytes(phrase, isFieldValue) {
		return fmt.Errorf("%w: no status line", ErrMalformed)
	}
	a.Status, _ = strconv.Atoi(code)
	a.Phrase = phrase
	return nil
}

// field keeps what the proxy acts on of a field.
func (a *Answer) field(name, value string, coded *bool) error {
	switch {
	case strings.EqualFold(name, "Content-Length"):
		return a.length(value)
	case strings.EqualFold(name, "Transfer-Encoding"):
		if *coded {
			return fmt.Errorf("%w: Transfer-Encoding twice", ErrMalformed)
		}
		*coded = true
		// Identity was a coding once (RFC 2616, section 3.6) and says nothing.
		if a.Chunked = strings.EqualFold(value, "chunked"); !a.Chunked && !strings.EqualFold(value, "identity") {
			return ErrCoding
		}
	case strings.EqualFold(name, "Upgrade"):
		if a.Upgrade != "" {
			value = a.Upgrade + ", " + value
		}
		a.Upgrade = value
	case strings.EqualFold(name, "Connection"):
		a.Close = a.Close || HasOption(value, "close")
		a.KeepAlive = a.KeepAlive || HasOption(value, "keep-alive")
	}
	return nil
}

// length takes a Content-Length; a second one has to be equal, for then all readers
// agree (RFC 9112, section 6.3).
func (a *Answer) length(value string) error {
	if !isLength(value) {
		return fmt.Errorf("%w: Content-Length is no plain number", ErrMalformed)
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || a.Length >= 0 && a.Length != n {
		return fmt.Errorf("%w: two lengths", ErrMalformed)
	}
	a.Length = n
	return nil
}

// HasContent reports whether content follows the head in answer to a request of the
// method (RFC 9112, section 6.3).
func (a *Answer) HasContent(method string) bool {
	return a.Status >= 200 && a.Status != http.StatusNoContent && a.Status != http.StatusNotModified && method != http.MethodHead && a.Length != 0
}

// Persistent reports whether the connection can take another request behind the answer
// (RFC 9112, section 9.3). One of HTTP/1.0 that says so is not believed: such proxies pass
// the word on unread.
func (a *Answer) Persistent() bool { return a.Minor == 1 && !a.Close }

// CannotBeAnswer tells early that b cannot become the head of an answer with so many
// fields at most: it begins with another protocol, a line ends in a bare LF, or there
// are too many lines. It looks only at what came since the call that looked at the first
// `seen` bytes, of which so many were ends of lines.
func CannotBeAnswer(b []byte, seen int, lines *int, fields int) bool {
	const begin = "HTTP/1."
	if n := min(len(b), len(begin)); string(b[:n]) != begin[:n] {
		return true
	}
	for i := seen; ; i++ {
		at := bytes.IndexByte(b[i:], '\n')
		if at < 0 {
			return *lines > fields+1 // the status line
		}
		if i += at; b[i-1] != '\r' {
			return true
		}
		*lines++
	}
}

// HasOption reports whether a list, such as the value of Connection, has the option, in
// whatever case.
func HasOption(list, option string) bool {
	for list != "" {
		var one string
		one, list, _ = strings.Cut(list, ",")
		if one = strings.Trim(one, " \t"); len(one) == len(option) && strings.EqualFold(one, option) {
			return true
		}
	}
	return false
}
