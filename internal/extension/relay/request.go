package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
)

// The times and sizes of a request.
const (
	// answerTimeout is how long the proxy may take to answer a CONNECT: longer than it
	// gives the lookup and the dial. What an origin takes for a plain request is the
	// client's to bound.
	answerTimeout = time.Minute
	// lingerTimeout and lingerBytes bound what is read of a client behind its answer, for
	// closing with bytes unread would take the answer away again.
	lingerTimeout = time.Second
	lingerBytes   = 1 << 20
)

// serveRequest brings one request to the proxy and the answer back, and reports whether
// the client's connection can take another.
func (r *Relay) serveRequest(ctx context.Context, c *peer, head *httphead.Head) bool {
	if r.Unusable != "" {
		r.refuse(c, notConfigured(r.Unusable))
		return false
	}
	body, err := newContent(c, head)
	if err != nil {
		return false
	}
	e := &exchange{Relay: r, client: c, head: head, body: body}
	defer e.close()
	if refused := e.open(ctx); refused != nil {
		r.refuse(c, *refused)
		return false
	}
	return e.deliver() && head.Method != http.MethodConnect && head.Persistent() && e.answer.Persistent() && e.ends()
}

// deliver gives the client the answer, or serves the tunnel that it has opened, and
// reports whether both sides have said all they had to.
func (e *exchange) deliver() bool {
	if _, err := io.WriteString(e.client, e.answer.Raw); err != nil {
		return false
	}
	if e.tunnels() && e.body.sent() {
		e.serveTunnel(e.client, e.proxy)
		return false
	}
	if e.answer.HasContent(e.head.Method) {
		if err := copyContent(e.client, e.proxy.in, e.answer.Length, e.answer.Chunked); err != nil {
			e.client.abort()
			return false
		}
	}
	if !e.body.sent() {
		e.close()
		linger(e.client)
		return false
	}
	return true
}

// exchange is one request and its answer.
type exchange struct {
	*Relay
	client *peer
	head   *httphead.Head
	body   *content

	proxy  *peer // nil: none is open
	answer httphead.Answer
	stop   func() bool // takes the context's end off proxy
}

// close ends the connection to the proxy.
func (e *exchange) close() {
	if e.proxy == nil {
		return
	}
	e.stop()
	_ = e.proxy.Close() // everything that it had to say has been read
	e.proxy = nil
	if e.body.writing != nil {
		_ = e.client.SetReadDeadline(time.Now().Add(lingerTimeout)) // fails on closed connections alone
		e.body.wait()
	}
}

// ends reports whether the answer ends before its connection does.
func (e *exchange) ends() bool {
	return e.answer.Chunked || e.answer.Length >= 0 || !e.answer.HasContent(e.head.Method)
}

// tunnels reports whether the connections carry something else than HTTP from now on.
func (e *exchange) tunnels() bool {
	if e.head.Method == http.MethodConnect {
		return e.answer.Status/100 == 2
	}
	return e.answer.Status == http.StatusSwitchingProtocols
}

// open sends the request and reads the head of the answer, which is not written yet. A
// credential that is refused is replaced once; a connection that ends before an answer
// is opened anew once, where the request can be sent again.
func (e *exchange) open(ctx context.Context) *refusal {
	credential, err := e.Credential(ctx)
	if err != nil {
		e.Log.Error("there is no token", "code", e.Code(err), "error", err)
		return noToken(e.Code(err))
	}
	err = e.send(ctx, credential)
	if errors.Is(err, errNoAnswer) && e.body.again && slices.Contains(repeatable, e.head.Method) {
		e.close()
		err = e.send(ctx, credential)
	}
	if err == nil && e.answer.Status == http.StatusProxyAuthRequired && e.body.again {
		next, refused := e.Replace(ctx, credential)
		if refused != nil {
			e.Log.Error("the proxy refuses the token, and there is no other", "code", e.Code(refused), "error", refused)
			return nil
		}
		e.close()
		err = e.send(ctx, next)
	}
	if err != nil {
		e.Log.Error("the proxy does not answer", "error", err)
		return noProxy(err)
	}
	return nil
}

// repeatable are the methods of requests that may have been served and can be sent again
// (RFC 9110, section 9.2.2). Of a CONNECT nothing has gone through.
var repeatable = []string{
	http.MethodConnect, http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete,
}

// errNoAnswer is a connection that was open and ended before an answer.
var errNoAnswer = errors.New("the proxy has closed the connection")

// send opens a connection, sends the request and reads the head of the final answer;
// those before it go to the client at once.
func (e *exchange) send(ctx context.Context, credential string) error {
	conn, err := e.Dial(ctx)
	if err != nil {
		return err
	}
	e.proxy = newPeer(conn)
	e.stop = context.AfterFunc(ctx, func() { _ = conn.NetConn().Close() })
	if _, err := io.WriteString(conn, withCredential(e.head, credential)); err != nil {
		return fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	e.body.start(e.proxy)
	if e.head.Method == http.MethodConnect {
		_ = conn.SetReadDeadline(time.Now().Add(answerTimeout)) // fails on closed connections alone
		defer func() { _ = conn.SetReadDeadline(time.Time{}) }()
	}
	for {
		e.answer, err = readAnswer(e.proxy.in)
		if err != nil {
			return noAnswer(err)
		}
		if e.answer.Status/100 != 1 || e.answer.Status == http.StatusSwitchingProtocols {
			return nil
		}
		if _, err := io.WriteString(e.client, e.answer.Raw); err != nil {
			return fmt.Errorf("answering the client: %w", err)
		}
	}
}

// noAnswer says of an error of reading that there was no answer, unless time was up.
func noAnswer(err error) error {
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, errHead) || strings.Contains(err.Error(), "malformed") {
		return err
	}
	return fmt.Errorf("%w: %w", errNoAnswer, err)
}

// linger lets a client that is still sending read its answer.
func linger(c *peer) {
	c.closeWrite()
	_ = c.SetReadDeadline(time.Now().Add(lingerTimeout)) // fails on closed connections alone
	_, _ = io.CopyN(io.Discard, c.in, lingerBytes)       // what it sends is for nobody
}
