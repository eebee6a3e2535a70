package proxyheader_test

import (
	"bufio"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/proxyheader"
)

// Parts of headers of version 2.
const (
	signature = "\r\n\r\n\x00\r\nQUIT\n"
	addresses = "\x0a\x01\x02\x09\x0a\x00\x00\x01\x9c\x40\x0c\x38" // 10.1.2.9:40000 to 10.0.0.1:3128
)

// headers are whole ones and what they say: an address, "" for the balancer itself, or
// "refused".
var headers = []struct{ name, header, want string }{
	{"version 1", "PROXY TCP4 10.1.2.9 10.0.0.1 40000 3128\r\n", "10.1.2.9:40000"},
	{"version 1, IPv6", "PROXY TCP6 2001:db8::7 2001:db8::8 40000 3128\r\n", "[2001:db8::7]:40000"},
	{"version 1, the longest", "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe 65535 65535\r\n", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe]:65535"},
	{"version 2", signature + "\x21\x11\x00\x0c" + addresses, "10.1.2.9:40000"},
	{"version 2, LOCAL", signature + "\x20\x00\x00\x00", ""},
	{"version 2, LOCAL with addresses", signature + "\x20\x11\x00\x0c" + addresses, ""},
	{"version 1, UNKNOWN", "PROXY UNKNOWN\r\n", "refused"},
	{"version 1, UNKNOWN with addresses", "PROXY UNKNOWN 10.1.2.9 10.0.0.1 40000 3128\r\n", "refused"},
	{"version 2, UNSPEC", signature + "\x21\x00\x00\x00", "refused"},
	{"version 2, UNSPEC with addresses", signature + "\x21\x00\x00\x0c" + addresses, "refused"},
	{"version 2, UDP", signature + "\x21\x12\x00\x0c" + addresses, "refused"},
	{"version 2, a command that is none", signature + "\x22\x11\x00\x0c" + addresses, "refused"},
	{"version 1 without an end", "PROXY TCP4 " + strings.Repeat("1", 200) + "\r\n", "refused"},
	{"version 1 ending in LF", "PROXY TCP4 10.1.2.9 10.0.0.1 40000 3128\n", "refused"},
	{"version 1, another word", "PROXIED TCP4 10.1.2.9 10.0.0.1 40000 3128\r\n", "refused"},
	{"none", "CONNECT any.test:443 HTTP/1.1\r\n\r\n", "refused"},
}

// A header says who the client is, or that the balancer is, or it is refused: in both
// versions, in one piece and in as many as it has bytes, with what follows left unread.
func TestHeaderSaysWhoTheClientIs(t *testing.T) {
	const behind = "GET / HTTP/1.1\r\n"
	pieces := map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "halves": iotest.HalfReader,
	}
	for _, row := range headers {
		for how, cut := range pieces {
			br := bufio.NewReaderSize(cut(strings.NewReader(row.header+behind)), 512)
			from, err := proxyheader.Read(br)
			got := "refused"
			if err == nil && from.IsValid() {
				got = from.String()
			} else if err == nil {
				got = ""
			}
			if got != row.want {
				t.Errorf("%s, %s: %q, want %q (%v)", row.name, how, got, row.want, err)
			}
			if rest, _ := io.ReadAll(br); err == nil && string(rest) != behind {
				t.Errorf("%s, %s: %q is left", row.name, how, rest)
			}
		}
	}
}

// A header that is cut short is refused wherever that is.
func TestHeaderThatIsCutShortIsRefused(t *testing.T) {
	for _, row := range headers {
		for n := range len(row.header) {
			if from, err := proxyheader.Read(bufio.NewReaderSize(strings.NewReader(row.header[:n]), 512)); err == nil {
				t.Errorf("%s: %d bytes are taken as %v", row.name, n, from)
			}
		}
	}
}

// Whatever comes: no address is made up, and the same bytes are read alike in pieces.
func FuzzRead(f *testing.F) {
	for _, row := range headers {
		f.Add(row.header)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		whole, err := proxyheader.Read(bufio.NewReaderSize(strings.NewReader(raw), 512))
		cut, cutErr := proxyheader.Read(bufio.NewReaderSize(iotest.OneByteReader(strings.NewReader(raw)), 512))
		if whole != cut || (err == nil) != (cutErr == nil) {
			t.Errorf("whole: %v, %v; in pieces: %v, %v", whole, err, cut, cutErr)
		}
		if err != nil && whole.IsValid() || err == nil && whole.IsValid() && whole.Addr().Is4In6() {
			t.Errorf("%v with %v", whole, err)
		}
		if err == nil && !whole.IsValid() && !strings.HasPrefix(raw, signature+"\x20") {
			t.Error("a client is taken for the balancer")
		}
	})
}
