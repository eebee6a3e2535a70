package httphead

// RequestLine recognises the first line of an HTTP/1.x request (RFC 9112, section 3)
// while it comes, where something else was to come. It keeps the method and the end of
// the line, however long the target is. The zero RequestLine is at the beginning.
type RequestLine struct {
	method [maxMethod]byte
	size   int            // of the method
	behind int            // bytes behind the method, the first of which is a space; 0: that has not come
	tail   [lineTail]byte // the last of them
	state  LineState
}

// LineState is what a RequestLine knows. The zero LineState is a line that has not ended.
type LineState uint8

// The states of a RequestLine; LineHTTP and LineOther are final.
const (
	LineOpen  LineState = iota // it may become a request line
	LineHTTP                   // it is one, of HTTP/1.0 or another 1.x
	LineOther                  // it is none
)

const (
	maxMethod   = 32 // of those that are registered the longest has 17 letters
	lineVersion = " HTTP/1."
	lineTail    = len(lineVersion) + len("1\r\n")
	lineLeast   = len(" /") + lineTail // behind the method
)

// Add takes in what has come and returns what is known. Behind the line nothing is
// looked at.
func (l *RequestLine) Add(p []byte) LineState {
	for _, c := range p {
		if l.state != LineOpen {
			break
		}
		l.add(c)
	}
	return l.state
}

// add is Add of one byte.
func (l *RequestLine) add(c byte) {
	switch {
	case l.behind > 0, c == ' ' && l.size > 0:
		l.addBehind(c)
	case !isToken(c) || l.size == maxMethod:
		l.state = LineOther
	default:
		l.method[l.size] = c
		l.size++
	}
}

// addBehind takes in a byte behind the method.
func (l *RequestLine) addBehind(c byte) {
	l.behind++
	copy(l.tail[:], l.tail[1:])
	l.tail[lineTail-1] = c
	afterCR := l.tail[lineTail-2] == '\r'
	switch {
	case c == '\n' && afterCR && l.behind >= lineLeast && string(l.tail[:len(lineVersion)]) == lineVersion && isDigit(l.tail[len(lineVersion)]):
		l.state = LineHTTP
	case afterCR, c != '\r' && !isFieldValue(c):
		l.state = LineOther
	}
}

// Method returns the method of a line that is LineHTTP.
func (l *RequestLine) Method() string { return string(l.method[:l.size]) }
