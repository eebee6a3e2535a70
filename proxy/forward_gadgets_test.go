package proxy_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// gadgets makes requests that parsers have been known to read in two ways.
type gadgets struct {
	*rand.Rand
	host string // an allowed authority
}

// pick returns one of them.
func (g *gadgets) pick(all ...string) string { return all[g.IntN(len(all))] }

// smuggled is a request that would be seen at the origin if a body, or a part
// of one, were taken for a request.
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: evil.test\r\n\r\n"

// fieldGadgets are field lines, each whole.
var fieldGadgets = []string{
	"Content-Length: 5\r\n", "Content-Length: 0\r\n", "Content-Length: 6\r\n", "content-length: 5\r\n", "Content-Length: +5\r\n", "Content-Length: 5, 5\r\n",
	"Content-Length: 05\r\n", "Content-Length: 0x5\r\n", "Content-Length:\r\n", "Content-Length: 5 \r\n", "Content-Length:\t5\r\n", "Content-Length : 5\r\n",
	"Content-Length: 18446744073709551621\r\n", "Content_Length: 5\r\n", "Content-Length\x00: 5\r\n", "X: y\r\n Content-Length: 5\r\n",
	"Transfer-Encoding: chunked\r\n", "transfer-encoding: chunked\r\n", "Transfer-Encoding: Chunked\r\n", "Transfer-Encoding: identity\r\n", "Transfer-Encoding: xchunked\r\n",
	"Transfer-Encoding: chunked, identity\r\n", "Transfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding:\tchunked\r\n", "Transfer-Encoding: chunked \r\n",
	"Transfer-Encoding:chunked\r\n", "Transfer-Encoding : chunked\r\n", "Transfer-Encoding:\r\n chunked\r\n", "Transfer-Encoding: chunked\v\r\n", "Transfer-Encoding:  chunked\r\n",
	"Transfer_Encoding: chunked\r\n", "X: y\rTransfer-Encoding: chunked\r\n", "X: y\nTransfer-Encoding: chunked\r\n", " Transfer-Encoding: chunked\r\n", "Transfer-Encoding: \"chunked\"\r\n",
	"Host: evil.test\r\n", "Host: HOST\r\n", "host: HOST\r\n", "Host : evil.test\r\n", "Host:\r\n evil.test\r\n", "X-Forwarded-Host: evil.test\r\n",
	"Connection: X-Hop\r\nX-Hop: 1\r\n", "connection: close , x-hop\r\nX-Hop: 1\r\nX-Hop: 2\r\n", "X-Hop: 1\r\nConnection: keep-alive,,\tX-HOP\r\n",
	"Connection: Content-Length\r\n", "Connection: Transfer-Encoding, Host\r\n", "Connection: Connection\r\nConnection: Via\r\n", "Connection: close\r\n",
	"Keep-Alive: timeout=5\r\n", "TE: trailers\r\n", "Trailer: X-T\r\n", "Trailer: Content-Length\r\n", "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nConnection: Upgrade, HTTP2-Settings\r\n",
	"Upgrade: websocket\r\nConnection: upgrade\r\n", "Proxy-Connection: keep-alive\r\n", "PROXY-FOO: 1\r\n", "Proxy-Authenticate: Basic\r\n",
	"Expect: 100-continue\r\n", "Expect: 100-Continue\r\n", "Expect: bogus\r\n", "Via: 1.0 other\r\n", "Via: 1.1 egress\r\n",
	"X: a\r\n b\r\n", "X: a\r\n\tb\r\n", "X: \x00\r\n", "X: a\x7f\r\n", "X: \xff\xfe\r\n", ": y\r\n", "X\r\n", "X Y: z\r\n", "X:\r\n", "X: \t \r\n", "(X): y\r\n",
}

// targetGadgets are targets in absolute form; ID stands for the path.
var targetGadgets = []string{
	"http://HOSTID", "HTTP://HOSTID", "http://HOSTID?a=b", "http://HOSTID?http://evil.test/", "http://HOST//evil.testID", "http://HOSTID/../../x",
	"http://HOSTID%0d%0aHost:%20evil.test", "http://HOSTID%20HTTP/1.1", "http://HOST?ID", "http://HOST", "http://HOSTID#f", "http://HOSTID\\x", "http:\\\\HOSTID",
	"http://user@HOSTID", "http://HOST@evil.testID", "http://evil.test@HOSTID", "http://evil.test\\@HOSTID", "http:/HOSTID", "http:HOSTID", "//HOSTID", "ID", "*", "http://HOST.:80ID",
	"http://HOSTID;a=b,c:d@e", "http://HOSTID\xc3\xa4", "https://HOSTID", "http://HOSTID\tx", "http://HOST:80ID", "http://HOSTID/%2e%2e%2f%00",
}

// lineEnds are ends of lines, CRLF among them.
var lineEnds = []string{"\r\n", "\n", "\r", "\r\r\n", "\n\r", "\r\n\r\n", "\r\n ", " \r\n", "\x00\r\n", "\x0b\r\n", "\x85", "\u2028"}

// chunkGadgets are chunked bodies, with and without an end.
var chunkGadgets = []string{
	"5\r\nhello\r\n0\r\n\r\n", "0\r\n\r\n", "5;ext=1\r\nhello\r\n0;last\r\n\r\n", "5\r\nhello\r\n0\r\nX-T: y\r\n\r\n", "5\r\nhello\r\n0\r\nContent-Length: 5\r\nHost: evil.test\r\n\r\n",
	"005\r\nhello\r\n000\r\n\r\n", "A\r\nhellohello\r\n0\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n", "5\t;x\r\nhello\r\n0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n", "5\nhello\r\n0\r\n\r\n", "5\r\nhello\n0\r\n\r\n",
	"5\r\nhello0\r\n\r\n", "6\r\nhello\r\n0\r\n\r\n", "4\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\n\n", "5\r\nhello\r\n0\n\r\n", "5;a\nb\r\nhello\r\n0\r\n\r\n", "5;\r\nhello\r\n0\r\n\r\n",
	"5\r\nhello\r\n", "5\r\nhel", "ffffffffffffffff5\r\nhello\r\n0\r\n\r\n", "-5\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\n" + smuggled, "5\r\nhello\r\n0\r\n\r\n" + smuggled, "5;x\r" + smuggled + "\r\nhello\r\n0\r\n\r\n",
	fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled), "5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n", "5\r\nhello\r\n0\r\nX: y\nZ: z\r\n\r\n", "5_0\r\nhello\r\n0\r\n\r\n",
}

// request returns a request with gadgets put in, and two that follow it on the
// connection: one that is allowed, and one that no proxy may read. The first
// two have the name in their paths.
func (g *gadgets) request() (name, raw string) {
	name = fmt.Sprintf("%016x", g.Uint64())
	id := "/t/" + name
	target := g.host
	if g.IntN(6) == 0 {
		target = g.pick(targetGadgets...)
	} else {
		target = "http://" + target + id
	}
	line := g.pick("GET", "POST", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH") + " " + target + " " + "HTTP/1.1\r\n"
	switch g.IntN(40) {
	case 0:
		line = strings.Replace(line, " ", g.pick("  ", "\t", " \t", "\v", "\x00", "\u00a0"), 1)
	case 1:
		line = strings.Replace(line, "HTTP/1.1", g.pick("HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/01.1", "HTTP/1.1 ", "HTTP/1.10", ""), 1)
	case 2:
		line = g.pick("\r\n", "\r\n", "\r\n\r\n", " ", "\n", "\r", "\x16\x03\x01", "G") + line
	}
	fields := []string{"Host: " + g.pick("HOST", "HOST", "HOST", "evil.test") + "\r\n", auth("billing")}
	if g.IntN(4) == 0 {
		for i, field := range fields {
			field = strings.Replace(field, ": ", ":"+g.pick("", "  ", "\t", " \t "), 1)
			field = strings.Replace(field, "Basic ", "Basic"+g.pick(" ", "  ", "\t"), 1)
			fields[i] = strings.Replace(field, "\r\n", g.pick("", " ", "\t")+"\r\n", 1)
		}
	}
	body := ""
	switch g.IntN(3) {
	case 0:
		body = g.pick("hello", smuggled, "", "hello"+smuggled)
		length := len(body)
		if g.IntN(5) == 0 {
			length = max(length+g.IntN(5)-2, 0)
		}
		fields = append(fields, fmt.Sprintf("Content-Length: %d\r\n", length))
	case 1:
		fields = append(fields, "Transfer-Encoding: chunked\r\n")
		body = g.pick(chunkGadgets...)
	}
	for range g.IntN(5) / 2 {
		at := g.IntN(len(fields) + 1)
		fields = append(fields[:at:at], append([]string{g.pick(fieldGadgets...)}, fields[at:]...)...)
	}
	raw = line + strings.Join(fields, "") + "\r\n" + body
	raw = strings.NewReplacer("HOST", g.host, "ID", id).Replace(raw)
	if g.IntN(4) == 0 {
		raw = g.mangle(raw)
	}
	return name, raw + "GET http://" + g.host + id + "/next HTTP/1.1\r\nHost: " + g.host + "\r\n" + auth("billing") + "\r\n" + smuggled
}

// mangle changes bytes anywhere.
func (g *gadgets) mangle(raw string) string {
	at := g.IntN(len(raw))
	switch g.IntN(5) {
	case 0:
		ends := strings.Split(raw, "\r\n")
		i := g.IntN(len(ends))
		return strings.Join(ends[:i], "\r\n") + g.pick(lineEnds...) + strings.Join(ends[i:], "\r\n")
	case 1:
		return raw[:at] + g.pick("\r", "\n", "\r\n", "\x00", " ", "\t", ":", ",", ";", "0", "\xff", "\x7f", "#", "@") + raw[at:]
	case 2:
		return raw[:at] + raw[min(at+1+g.IntN(4), len(raw)):]
	case 3:
		end := min(at+g.IntN(40), len(raw))
		return raw[:end] + raw[at:]
	default:
		return raw[:at] + string([]byte{byte(g.IntN(256))}) + raw[min(at+1, len(raw)):]
	}
}
