package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// ofSquid are the fields that Squid adds or rewrites though it is told not to; what is of one hop is
// taken out as everywhere.
var ofSquid = []string{"Via", "X-Cache", "X-Cache-Lookup", "Age", "Cache-Control", "Cache-Status", "Connection", "Date", "Proxy-Connection", "Keep-Alive", "Transfer-Encoding", "Trailer"}

// curl, which knows nothing of either, and the origin see the same of each other through the
// proxy as through Squid.
func TestPairsOfCurlSeeWhatTheySeeThroughSquid(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed")
	}
	p := newPairRig(t)
	squid := egresstest.Squid(t, "http_access allow all", "allowed.test")
	ways := []string{"http://billing:billing@" + p.addr, "http://" + squid}
	for i := range min(pairs(t)/5, 2000) {
		seed := uint64(i)
		var answers, requests [2]seen
		for way, by := range ways {
			g := &chance{Rand: rand.New(rand.NewPCG(seed, 7230)), id: fmt.Sprintf("%d%05d", way, i)}
			args, content := g.curlArguments("http://" + p.host + "/" + g.id + "/")
			method := args[1]
			answer := g.plainAnswer(method)
			p.answers.Store(g.id, answer)
			out, err := run(t, curl, append([]string{"-x", by}, args...), content)
			if err != nil {
				t.Fatalf("curl %q: %v", args, err)
			}
			answers[way] = answerSeen(t, out, method)
			came, _ := p.got.Load(g.id)
			text, _ := came.(string)
			requests[way] = requestSeen(t, strings.Replace(text, g.id, "ID", 1))
		}
		if !reflect.DeepEqual(answers[0], answers[1]) {
			t.Fatalf("%d: curl sees\n%.900q, and through Squid\n%.900q", i, fmt.Sprint(answers[0]), fmt.Sprint(answers[1]))
		}
		if !reflect.DeepEqual(requests[0], requests[1]) {
			t.Fatalf("%d: the origin sees\n%.900q, and through Squid\n%.900q", i, fmt.Sprint(requests[0]), fmt.Sprint(requests[1]))
		}
	}
}

// run runs a program with that on its standard input, and returns what it prints.
func run(t *testing.T, name string, args []string, in string) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	c.Stdin = strings.NewReader(in)
	return c.Output()
}

// curlArguments returns what curl is called with for a request: the method is the second
// of them; and the content.
func (g *chance) curlArguments(at string) (args []string, content string) {
	method := g.pick("GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
	args = []string{"-X", method, "-s", "-i", "--http1.1", "--globoff", "--path-as-is", "-H", "Expect:", "-m", "15"}
	if method == "HEAD" {
		args = append(args, "-I")
	}
	for i := range g.IntN(5) {
		args = append(args, "-H", fmt.Sprintf("X-%d%s: %s", i, g.bytes(5, "abcXYZ-"), strings.Trim("v"+g.bytes(30, "abc XYZ,;=\"'/09"), " ")))
	}
	if method[0] == 'P' {
		content = g.bytes(g.pickInt(10, 500, 20000), "0123456789abcdef\r\n")
		args = append(args, "--data-binary", "@-")
		if g.IntN(2) == 0 && content != "" {
			args = append(args, "-H", "Transfer-Encoding: chunked")
		}
	}
	return append(args, at+g.bytes(30, "abcXYZ019!$&'()*+,;=:@/-._~")+g.pick("", "?", "?a=b&c=%2F")), content
}

// plainAnswer returns an answer as servers give it.
func (g *chance) plainAnswer(method string) string {
	status := g.pick("200", "200", "200", "201", "204", "206", "404", "500", "503")
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %s %s\r\nServer: test\r\n", status, strings.TrimSpace("R"+g.bytes(10, "abc ")))
	for i := range g.IntN(5) {
		fmt.Fprintf(&b, "X-%d%s: %s\r\n", i, g.bytes(5, "abcXYZ-"), strings.Trim("v"+g.bytes(30, "abc XYZ,;=\"'/09"), " "))
	}
	field, raw := g.content()
	raw = strings.Replace(raw, "X-Trailer: 1\r\n", "", 1)
	switch {
	case status == "204":
		field, raw = "Connection: keep-alive\r\n", ""
	case method == "HEAD":
		raw = ""
	}
	return b.String() + field + "\r\n" + raw
}

// answerSeen returns what curl has printed of an answer.
func answerSeen(t *testing.T, out []byte, method string) seen {
	t.Helper()
	for bytes.HasPrefix(out, []byte("HTTP/1.1 1")) {
		_, out, _ = bytes.Cut(out, []byte("\r\n\r\n"))
	}
	head, content, ok := bytes.Cut(out, []byte("\r\n\r\n"))
	if !ok {
		t.Fatalf("curl printed %q", out)
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(append(head, "\r\n\r\n"...))), &http.Request{Method: "HEAD"})
	if err != nil {
		t.Fatalf("%v in %q", err, head)
	}
	if method == "HEAD" {
		content = nil
	}
	return seen{line: strconv.Itoa(resp.StatusCode), fields: withoutSquid(resp.Header), content: string(content)}
}

// requestSeen returns what an origin has read of a request.
func requestSeen(t *testing.T, raw string) seen {
	t.Helper()
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		t.Fatalf("%v in %q", err, raw)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		t.Fatalf("%v in %q", err, raw)
	}
	return seen{line: req.Method + " " + req.RequestURI + " " + req.Host, fields: withoutSquid(req.Header), content: string(body)}
}

// withoutSquid takes out what is of one hop, and what Squid makes another one.
func withoutSquid(h http.Header) http.Header {
	for _, name := range ofSquid {
		h.Del(name)
	}
	h.Del("Content-Length") // content is compared itself; of HEAD Squid leaves it out at times
	return h
}
