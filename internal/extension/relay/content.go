package relay

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/chunked"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
)

// maxRepeat is how much content of a request is held to be sent again. Of longer
// content, and of such as the client sends when it is asked to, nothing is.
const maxRepeat = 64 << 10

// content is what follows the head of a request.
type content struct {
	again   bool   // all of it is in whole
	whole   []byte // what can be sent again
	from    *bufio.Reader
	length  int64      // -1: it is chunked
	writing chan error // nil: nothing is being written
	done    bool       // all of it has been sent
}

// newContent reads the content of a request, where it is short. The error is the
// client's.
func newContent(c *peer, head *httphead.Head) (*content, error) {
	if head.Method == http.MethodConnect || !head.HasContent() {
		return &content{again: true}, nil
	}
	b := &content{from: c.in, length: -1}
	if len(head.Codings) == 0 && len(head.Lengths) > 0 {
		n, err := strconv.ParseInt(head.Lengths[0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("reading the length of the content: %w", err)
		}
		b.length = n
	}
	if b.length < 0 || b.length > maxRepeat || len(head.Expect) > 0 {
		return b, nil
	}
	b.again, b.whole = true, make([]byte, b.length)
	if _, err := io.ReadFull(c.in, b.whole); err != nil {
		return nil, fmt.Errorf("reading content: %w", err)
	}
	return b, nil
}

// start sends the content, what cannot be held beside the answer.
func (b *content) start(proxy *peer) {
	if b.again {
		_, _ = proxy.Write(b.whole) // whether it has arrived the answer says
		b.done = true
		return
	}
	b.writing = make(chan error, 1)
	go func() { b.writing <- copyContent(proxy, b.from, b.length, b.length < 0) }()
}

// sent reports whether the proxy has all of it. What has just been written gets a little
// time to say so.
func (b *content) sent() bool {
	if b.writing != nil {
		select {
		case err := <-b.writing:
			b.done, b.writing = err == nil, nil
		case <-time.After(20 * time.Millisecond):
		}
	}
	return b.done || b.from == nil
}

// wait waits until nobody reads the client's connection any more. The caller has closed
// the proxy's, and bounded the reads.
func (b *content) wait() {
	b.done, b.writing = <-b.writing == nil, nil
}

// copyContent copies content by its framing (RFC 9112, section 6.3): chunked, so many
// bytes, or with a length of -1 all until the end.
func copyContent(to io.Writer, from *bufio.Reader, length int64, isChunked bool) error {
	switch {
	case isChunked:
		return copyChunks(to, from)
	case length >= 0:
		if _, err := io.CopyN(to, from, length); err != nil {
			return fmt.Errorf("copying content: %w", err)
		}
		return nil
	default:
		if _, err := io.Copy(to, from); err != nil {
			return fmt.Errorf("copying content: %w", err)
		}
		return nil
	}
}

// copyChunks copies chunked content with its trailer fields.
func copyChunks(to io.Writer, from *bufio.Reader) error {
	r := chunked.Reader{Trailer: func(httphead.Field) bool { return true }}
	var out []byte
	for !r.Done() {
		if _, err := from.Peek(1); err != nil {
			return fmt.Errorf("reading chunks: %w", err)
		}
		ahead, _ := from.Peek(from.Buffered()) // what is there can be looked at
		var n int
		var err error
		if out, n, err = r.Next(out[:0], ahead); err != nil {
			return fmt.Errorf("reading chunks: %w", err)
		}
		_, _ = from.Discard(n) // of what is there
		if _, err := to.Write(out); err != nil {
			return fmt.Errorf("writing chunks: %w", err)
		}
	}
	return nil
}
