package relay

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
)

// maxHead bounds a head of either side. The proxy takes less by default, so that its
// own answer is what a client sees of one that is too long.
const maxHead = 64 << 10

// errHead is a head that is over maxHead.
var errHead = errors.New("head over the limit")

// peer is one side of a request: its connection and what was read ahead of it.
type peer struct {
	net.Conn
	in *bufio.Reader // all reads go through it
}

// newPeer returns the peer of a connection.
func newPeer(c net.Conn) *peer { return &peer{c, bufio.NewReaderSize(c, 4<<10)} }

// abort closes the connection so that the other side sees that something is missing.
func (p *peer) abort() {
	if tcp, ok := p.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // without it the end looks whole; there is no other way to say so
	}
	_ = p.Close()
}

// closeWrite says that nothing more comes; by TLS it is a close_notify.
func (p *peer) closeWrite() {
	if c, ok := p.Conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite() // a peer that has gone needs no word
	}
}

// readHead reads up to the empty line behind a head, which it includes. An empty line
// before it is left out (RFC 9112, section 2.2).
func readHead(in *bufio.Reader) (string, error) {
	var head []byte
	for first := true; ; {
		line, err := in.ReadSlice('\n')
		head = append(head, line...)
		switch {
		case len(head) > maxHead:
			return "", errHead
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return "", err
		}
		if first && len(bytes.TrimRight(head, "\r\n")) == 0 {
			head, first = head[:0], false
			continue
		}
		first = false
		if bytes.HasSuffix(head, []byte("\n\r\n")) || bytes.HasSuffix(head, []byte("\n\n")) {
			return string(head), nil
		}
	}
}

// readRequest reads a request's head by the grammar that the proxy has.
func readRequest(in *bufio.Reader) (*httphead.Head, error) {
	raw, err := readHead(in)
	if err != nil {
		return nil, err
	}
	head, err := httphead.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("reading a request: %w", err)
	}
	return head, nil
}

// readAnswer reads an answer's head.
func readAnswer(in *bufio.Reader) (httphead.Answer, error) {
	raw, err := readHead(in)
	if err != nil {
		return httphead.Answer{}, err
	}
	a, err := httphead.ParseAnswer(raw)
	if err != nil {
		return httphead.Answer{}, fmt.Errorf("reading the proxy's answer: %w", err)
	}
	return a, nil
}

// withCredential returns the head for the proxy: as it came, but for the credential, of
// which the client's own is dropped.
func withCredential(head *httphead.Head, credential string) string {
	var b strings.Builder
	b.Grow(len(head.Raw) + len(credential) + 32)
	lines := httphead.Fields(head.Raw)
	b.WriteString(head.Raw[:len(head.Raw)-len(lines)])
	for {
		f, rest, ok := httphead.NextField(lines)
		if !ok {
			break
		}
		if lines = rest; !f.Is("Proxy-Authorization") {
			b.WriteString(f.Line + "\r\n")
		}
	}
	b.WriteString("Proxy-Authorization: " + credential + "\r\n\r\n")
	return b.String()
}
