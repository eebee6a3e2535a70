package httphead

import "bytes"

// NewAnswer returns an AnswerHead at the beginning of an answer.
func NewAnswer() AnswerHead { return AnswerHead{within: true, status: true} }

// AnswerHead counts the fields of an answer's head while it comes, those of the
// interim answers before it included (RFC 9110, section 15.2). The zero AnswerHead
// is outside of a head and counts nothing.
type AnswerHead struct {
	within  bool     // the head has not ended yet
	fields  int      // lines of it, but for status lines
	status  bool     // the line that has begun is a status line
	interim bool     // the last status was 1xx: another head follows this one
	line    [10]byte // the beginning of the line that has begun
	size    int      // its length so far
}

// Count takes in what has come and counts its fields. Where there are too many fields, n is how much of it
// may be read: not the end of the head.
func (h *AnswerHead) Count(p []byte) (n int, many bool) {
	for at := 0; h.within && at < len(p); {
		line, _, whole := bytes.Cut(p[at:], []byte{'\n'})
		if h.size < len(h.line) {
			copy(h.line[h.size:], line)
		}
		h.size += len(line)
		if !whole {
			break
		}
		at += len(line) + 1
		if h.endLine(); h.fields > MaxFields {
			return at, true
		}
	}
	return len(p), false
}

// endLine is Count at the end of a line.
func (h *AnswerHead) endLine() {
	switch {
	case h.status:
		const before = len("HTTP/1.1 ")
		h.status, h.interim = false, h.size > before && h.line[before] == '1'
	case h.size == 0, h.size == 1 && h.line[0] == '\r':
		h.within, h.status = h.interim, h.interim
	default:
		h.fields++
	}
	h.size = 0
}
