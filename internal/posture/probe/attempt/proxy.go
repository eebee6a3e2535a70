package attempt

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/probe"
)

// maxHead is how much of an answer is read, in bytes.
const maxHead = 64 << 10

// connect asks the proxy for a tunnel. For the control a handshake through the tunnel has to
// show the target; elsewhere it is enough that the proxy opens one.
func (p *Prober) connect(ctx context.Context, t *probe.Try) probe.Outcome {
	proxy, credential := p.proxyFor(t.Way)
	if t.Way == probe.NoCredential && p.Proxy.User == nil && p.Gate == nil {
		return probe.Outcome{Untried: true, Detail: "the proxy is used without a credential anyway"}
	}
	conn, o := p.openProxy(ctx, proxy)
	if conn == nil {
		return o
	}
	defer closed(conn)
	if _, err := io.WriteString(conn, connectHead(t.Target, credential)); err != nil {
		o.Detail = "the proxy took no request: " + reason(err)
		return o
	}
	reader := bufio.NewReader(io.LimitReader(conn, maxHead))
	response, err := http.ReadResponse(reader, &http.Request{Method: http.MethodConnect})
	if err != nil {
		o.Detail = "the proxy gave no answer: " + reason(err)
		return o
	}
	defer closedBody(response)
	o.Detail = fmt.Sprintf("the proxy answers %d", response.StatusCode)
	switch response.StatusCode / 100 {
	case 2:
		o.Answered = true
	case 4:
		o.Answered, o.Denied = true, true
		return o
	default: // it may have failed at what it would have allowed, such as a target that is down
		o.Detail += ", which is no refusal"
		return o
	}
	if t.Way != probe.Control {
		o.Match = true
		return o
	}
	_, o.Match = p.handshake(ctx, conn, t.Expect, &o)
	return o
}

// proxyFor returns which proxy a way asks, and with which credential; nil: with none.
func (p *Prober) proxyFor(way probe.Way) (proxy *url.URL, credential *url.Userinfo) {
	switch way {
	case probe.NoCredential:
	case probe.OtherCredential:
		credential = p.Other
	default:
		return p.Proxy, p.Proxy.User
	}
	if p.Gate != nil {
		return p.Gate, credential
	}
	return p.Proxy, credential
}

// openProxy connects to a proxy, over TLS where its URL says so.
func (p *Prober) openProxy(ctx context.Context, proxy *url.URL) (net.Conn, probe.Outcome) {
	secure := proxy.Scheme == "https"
	conn, o := open(ctx, "tcp", withPort(proxy))
	if conn == nil || !secure {
		return conn, o
	}
	over, ok := p.handshake(ctx, conn, proxy.Hostname(), &o)
	if !ok {
		closed(conn)
		return nil, probe.Outcome{Detail: "the proxy: " + o.Detail}
	}
	return over, o
}

// withPort returns host:port of a URL, with the port of its scheme if it has none.
func withPort(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Host
	case u.Scheme == "https":
		return net.JoinHostPort(u.Hostname(), "443")
	default:
		return net.JoinHostPort(u.Hostname(), "80")
	}
}

// connectHead writes the head of a CONNECT.
func connectHead(target string, credential *url.Userinfo) string {
	head := "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n"
	if credential != nil {
		password, _ := credential.Password()
		head += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(credential.Username()+":"+password)) + "\r\n"
	}
	return head + "\r\n"
}

// http asks for / without TLS, and looks for what is expected in the head of the answer.
func (p *Prober) http(ctx context.Context, t *probe.Try) probe.Outcome {
	conn, o := open(ctx, "tcp", t.Target)
	if conn == nil {
		return o
	}
	defer closed(conn)
	response, err := get(conn, "http://"+t.Target+"/")
	if err != nil {
		o.Detail = "connected, but there was no answer: " + reason(err)
		return o
	}
	defer closedBody(response)
	var head strings.Builder
	_ = response.Header.Write(&head) // a Builder takes everything
	o.Answered, o.Match = true, strings.Contains(head.String(), t.Expect)
	o.Detail = fmt.Sprintf("HTTP %d", response.StatusCode)
	if !o.Match {
		o.Detail += fmt.Sprintf(", without %q in its head", t.Expect)
	}
	return o
}

// object asks an endpoint for an object. Status 403 is what a policy of the endpoint gives,
// as is one of the bucket: what is asked for has to be open to everybody.
func (p *Prober) object(ctx context.Context, t *probe.Try) probe.Outcome {
	u, err := url.Parse(t.Target)
	if err != nil {
		return probe.Outcome{Untried: true, Detail: err.Error()}
	}
	address := t.Address
	if address == "" {
		address = withPort(u)
	}
	conn, o := open(ctx, "tcp", address)
	if conn == nil {
		return o
	}
	defer closed(conn)
	secure, ok := p.handshake(ctx, conn, u.Hostname(), &o)
	if !ok {
		return o
	}
	response, err := get(secure, t.Target)
	if err != nil {
		o.Detail = "connected, but there was no answer: " + reason(err)
		return o
	}
	defer closedBody(response)
	o.Answered, o.Denied = true, response.StatusCode == http.StatusForbidden || response.StatusCode == http.StatusUnauthorized
	o.Match, o.Detail = response.StatusCode/100 == 2, fmt.Sprintf("HTTP %d", response.StatusCode)
	return o
}

// get sends a GET over a connection and reads the head of its answer.
func get(conn net.Conn, target string) (*http.Response, error) {
	request, err := http.NewRequest(http.MethodGet, target, http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Close = true
	if err := request.Write(conn); err != nil {
		return nil, err
	}
	return http.ReadResponse(bufio.NewReader(io.LimitReader(conn, maxHead)), request)
}

// closedBody closes the body of an answer, which belongs to the connection.
func closedBody(response *http.Response) { _ = response.Body.Close() }
