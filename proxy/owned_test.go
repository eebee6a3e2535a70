package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// twoFunctions is a rig whose functions billing and other may reach one origin by
// plain HTTP.
func twoFunctions(t testing.TB, serve func(net.Conn)) *plainRig {
	t.Helper()
	r := newPlainRigFor(t, newOrigin(t, serve), proxy.Limits{})
	rules := []rule{{host: "allowed.test", ports: []uint16{r.origin.port}, any: true, addresses: loopback}}
	r.setPolicy([]function{{name: "billing", rules: rules}, {name: "other", rules: rules}})
	return r
}

// by returns a request of a function.
func (r *plainRig) by(function, method, path, fields, body string) string {
	return strings.Replace(r.request(method, path, fields, body), auth("billing"), auth(function), 1)
}

// lazy is an origin that answers by the head alone, as Python's http.server does,
// and takes what content there is for the next request. Its answers say what it
// took each request for.
func lazy(c net.Conn) {
	br := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(br) // the content stays in br
		if err != nil {
			return
		}
		text := "took for " + r.URL.Path + " of " + r.Header.Get("Authorization")
		if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text); err != nil {
			return
		}
	}
}

// The content of one function's request is an unfinished request. The next one that
// goes over that connection, with its credentials, would be its rest.
func TestUnreadContentOfOneFunctionIsNotTheBeginningOfAnothersRequest(t *testing.T) {
	const bait = "GET /chosen HTTP/1.1\r\nHost: allowed.test\r\nX-Swallow: "
	framings := map[string]string{
		fmt.Sprintf("Content-Length: %d\r\n", len(bait)): bait,
		"Transfer-Encoding: chunked\r\n":                 fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(bait), bait),
	}
	for _, method := range []string{"GET", "DELETE", "OPTIONS", "POST", "PUT", "PATCH"} {
		for fields, body := range framings {
			t.Run(method+" "+fields[:7], func(t *testing.T) {
				t.Parallel()
				r := twoFunctions(t, lazy)
				if got := r.ask(r.by("billing", method, "/bait", fields+"Connection: close\r\n", body)); got.StatusCode != 200 {
					t.Fatalf("the bait is answered %s", got.Status)
				}
				got := r.ask(r.by("other", "GET", "/mine", "Authorization: Bearer others\r\nConnection: close\r\n", ""))
				if got.body != "took for /mine of Bearer others" {
					t.Errorf("the other function is answered %q", got.body)
				}
			})
		}
	}
}

// The same on one client connection that changes its token, and for the function's
// own next request where the method is one that should have no content.
func TestUnreadContentIsNotTheBeginningOfTheNextRequestOfTheConnection(t *testing.T) {
	const bait = "GET /chosen HTTP/1.1\r\nHost: allowed.test\r\nX-Swallow: "
	fields := fmt.Sprintf("Content-Length: %d\r\n", len(bait))
	for _, row := range []struct{ method, next string }{
		{"GET", "other"}, {"POST", "other"}, {"GET", "billing"}, {"DELETE", "billing"}, {"OPTIONS", "billing"},
	} {
		t.Run(row.method+" then "+row.next, func(t *testing.T) {
			t.Parallel()
			r := twoFunctions(t, lazy)
			c, br := r.send(r.by("billing", row.method, "/bait", fields, bait))
			resp, _ := readOne(t, br)
			if resp.StatusCode != 200 {
				t.Fatalf("the bait is answered %s", resp.Status)
			}
			next := r.by(row.next, "GET", "/mine", "Authorization: Bearer next\r\n", "")
			if resp.Close {
				// The origin has answered before the content was sent on: that ends the
				// connection, and the client asks on another.
				_, br = r.send(next)
			} else if _, err := io.WriteString(c, next); err != nil {
				t.Fatal(err)
			}
			if _, body := readOne(t, br); body != "took for /mine of Bearer next" {
				t.Errorf("the next request is answered %q", body)
			}
		})
	}
}

// A HEAD has no answer to read, so it is told by the connections: none is used
// again after content that the method should not have.
func TestConnectionThatCarriedContentOutOfCustomIsNotUsedAgain(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "DELETE", "OPTIONS"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			r := twoFunctions(t, serveOK)
			for range 3 {
				_, br := r.send(r.by("billing", method, "/", "Content-Length: 2\r\nConnection: close\r\n", "hi"))
				if resp, err := http.ReadResponse(br, &http.Request{Method: method}); err != nil || resp.StatusCode != 200 {
					t.Fatalf("answered %v, %v", resp, err)
				}
			}
			if n := r.origin.accepted.Load(); n != 3 {
				t.Errorf("%d connections for three requests", n)
			}
		})
	}
}

// ntlm is an origin that authenticates connections: after the last message of the
// handshake every request of the connection is billing's.
func ntlm(c net.Conn) {
	br := bufio.NewReader(c)
	user, begun := "nobody", false
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		status, fields := "200 OK", ""
		switch _, message, _ := strings.Cut(r.Header.Get("Authorization"), " "); {
		case message == "one":
			begun, status, fields = true, "401 Unauthorized", "WWW-Authenticate: NTLM two\r\n"
		case message == "three" && begun:
			user = "billing"
		}
		text := "you are " + user
		if _, err := fmt.Fprintf(c, "HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s", status, fields, len(text), text); err != nil {
			return
		}
	}
}

func TestConnectionThatAClientHasAuthenticatedIsThatClientsAlone(t *testing.T) {
	for _, scheme := range []string{"NTLM", "Negotiate", "ntlm", "NEGOTIATE"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			r := twoFunctions(t, ntlm)
			c, br := r.send(r.by("billing", "GET", "/", "Authorization: "+scheme+" one\r\n", ""))
			ask := func(who, fields string) string {
				t.Helper()
				if _, err := io.WriteString(c, r.by(who, "GET", "/", fields, "")); err != nil {
					t.Fatal(err)
				}
				_, body := readOne(t, br)
				return body
			}
			if resp, _ := readOne(t, br); resp.StatusCode != 401 {
				t.Fatalf("the first message is answered %s", resp.Status)
			}
			if got := ask("billing", "Authorization: "+scheme+" three\r\n"); got != "you are billing" {
				t.Errorf("behind the handshake: %q; its messages have to go over one connection", got)
			}
			if got := ask("billing", ""); got != "you are billing" {
				t.Errorf("the next request of the client: %q", got)
			}
			for _, who := range []string{"billing", "other"} {
				got := r.ask(r.by(who, "GET", "/", "Connection: close\r\n", ""))
				if got.body != "you are nobody" {
					t.Errorf("%s on a connection of its own: %q", who, got.body)
				}
			}
			if got := ask("other", ""); got != "you are nobody" {
				t.Errorf("other with its token on the same connection: %q", got)
			}
			if got := ask("billing", ""); got != "you are nobody" {
				t.Errorf("billing after other was there: %q", got)
			}
		})
	}
}

// An origin must not keep somebody authenticated who has left.
func TestConnectionThatAClientHasAuthenticatedEndsWithIt(t *testing.T) {
	var begun atomic.Int64
	ended := make(chan int64, 2)
	r := twoFunctions(t, func(c net.Conn) {
		n := begun.Add(1)
		ntlm(c)
		ended <- n
	})
	// The first connection goes to the pool, and would end first if both were there.
	r.ask(r.by("billing", "GET", "/", "Connection: close\r\n", ""))
	c, br := r.send(r.by("billing", "GET", "/", "Authorization: NTLM one\r\n", ""))
	if resp, _ := readOne(t, br); resp.StatusCode != 401 {
		t.Fatalf("answered %s", resp.Status)
	}
	_ = c.Close()
	if n := <-ended; n != 2 {
		t.Error("the client's own connection is still open when one of the pool has ended")
	}
}
