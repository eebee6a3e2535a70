package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/standin"
)

// kept is a connection of a client that sends one plain request behind the other.
type kept struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
	host string
}

// keeps opens one to the plain origin.
func (w *attestedWorld) keeps(t *testing.T, p *running) *kept {
	t.Helper()
	c, err := net.Dial("tcp", p.proxy)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(2 * patience))
	return &kept{t: t, conn: c, in: bufio.NewReader(c), host: "plain.test:" + w.vars["plain"]}
}

// get sends a request that shows a token, and reads the head of the answer.
func (k *kept) get(path, token string) *http.Response {
	k.t.Helper()
	_, err := io.WriteString(k.conn, "GET http://"+k.host+path+" HTTP/1.1\r\nHost: "+k.host+"\r\nProxy-Authorization: Bearer "+token+"\r\n\r\n")
	if err != nil {
		k.t.Fatalf("the connection is not kept: %v", err)
	}
	r, err := http.ReadResponse(k.in, nil)
	if err != nil {
		k.t.Fatalf("the connection is not kept: %v", err)
	}
	return r
}

// reads returns the content of an answer.
func (k *kept) reads(r *http.Response) string {
	k.t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		k.t.Fatalf("reading an answer: %v", err)
	}
	return string(b)
}

// A token that is over opens nothing more, on a connection that it was shown on before
// either. What it has opened goes on: a tunnel, and an answer that is under way. The
// connection takes another token that holds.
func TestKeptConnectionTakesNoNewRequestOnATokenThatIsOver(t *testing.T) {
	t.Parallel()
	w := newAttestedWorld(t)
	p := w.started()
	target := "before.test:" + w.vars["echo"]
	for life := 2 * time.Second; ; life *= 2 {
		claimed := w.issuer.Function("eu-west-1", "billing", attestedAudience, time.Now(), life)
		over, token := time.Unix(claimed["exp"].(int64), 0), w.issuer.Token(claimed)
		plain, held, renewed := w.keeps(t, p), w.keeps(t, p), w.keeps(t, p)
		opened := p.asks("127.0.0.1", "CONNECT", target, "Bearer "+token)
		first, under, before := plain.get("/", token), held.get("/held", token), renewed.get("/", token)
		if time.Until(over) <= 0 && life < patience {
			continue // this machine was too slow for so short a life
		}
		if opened.conn == nil || first.StatusCode != http.StatusOK || under.StatusCode != http.StatusOK || before.StatusCode != http.StatusOK {
			t.Fatalf("while it holds: %s, %s, %s, %s", opened.Status, first.Status, under.Status, before.Status)
		}
		plain.reads(first)
		renewed.reads(before)
		time.Sleep(time.Until(over))
		if r := plain.get("/", token); r.StatusCode != http.StatusProxyAuthRequired || r.Header.Get("X-Egress-Reason") != "identity_rejected" {
			t.Errorf("the kept connection, behind its end: %s", r.Status)
		}
		if r := p.asks("127.0.0.1", "CONNECT", target, "Bearer "+token); r.reason() != "identity_rejected" {
			t.Errorf("a CONNECT, behind its end: %s", r.Status)
		}
		if r := renewed.get("/", w.token("billing")); r.StatusCode != http.StatusOK || renewed.reads(r) != "plain, with " {
			t.Errorf("the kept connection, with a new token: %s", r.Status)
		}
		close(w.release)
		if got := held.reads(under); got != "plain, with " {
			t.Errorf("what was under way ends with %q", got)
		}
		opened.carries(t)
		return
	}
}

// shows opens a tunnel with a new token that a key signs, closes it, and returns the
// reason for which it was refused; "": it was not.
func (w *attestedWorld) shows(p *running, k standin.Key) (string, error) {
	token := standin.Sign(k, standin.Members{"alg": "RS256", "kid": k.ID}, w.issuer.Function("eu-west-1", "billing", attestedAudience, time.Now(), 5*time.Minute))
	r, err := p.ask("CONNECT before.test:" + w.vars["echo"] + " HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Bearer " + token + "\r\n\r\n")
	if err != nil {
		return "", err
	}
	if r.conn != nil {
		_ = r.conn.Close()
	}
	return r.reason(), nil
}

// A file of keys that is replaced by itself is read, as whatever the policy was read from.
// While it is no set of keys the last good one holds.
func TestKeysOfAFileThatIsReplacedAloneAreRead(t *testing.T) {
	t.Parallel()
	w := newAttestedWorld(t)
	file := filepath.Join(t.TempDir(), "jwks.json")
	put := func(text []byte) {
		w.must(os.WriteFile(file+".new", text, 0o600))
		w.must(os.Rename(file+".new", file))
	}
	w.vars["keys"] = ", keys: " + file
	put(w.issuer.JWKS())
	p := w.started()
	first := w.issuer.Key("RS256")
	holds := func(k standin.Key) bool {
		reason, err := w.shows(p, k)
		w.must(err)
		return reason == ""
	}
	put([]byte("<!doctype html>"))
	w.eventually("the load fails", func() bool { return len(p.of("reload_failed")) > 0 })
	if !holds(first) {
		t.Error("a file that is no set of keys ends the last one")
	}
	w.must(w.issuer.Rotate())
	w.issuer.Withdraw(first.ID)
	put(w.issuer.JWKS())
	w.eventually("the new key holds", func() bool { return holds(w.issuer.Key("RS256")) })
	if holds(first) {
		t.Error("the key that was withdrawn still holds")
	}
	if w.fetched.Load() != 0 {
		t.Error("the issuer was asked, though the keys are of a file")
	}
}

// awaits shows tokens of a key until one holds, each second: an unknown key is asked for
// once in half a minute.
func (w *attestedWorld) awaits(t *testing.T, p *running, k standin.Key) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Second) {
		reason, err := w.shows(p, k)
		switch {
		case err != nil:
			t.Fatal(err)
		case reason == "":
			return
		case reason != "identity_rejected" && reason != "limit_failures":
			t.Fatalf("a token of %s: %s", k.ID, reason)
		case time.Now().After(end):
			t.Fatalf("a token of %s never holds; the keys were asked for %d times", k.ID, w.fetched.Load())
		}
	}
}

// Keys that are fetched rotate, and their issuer goes away and comes back, while callers
// show new tokens of the first key all the time. It takes a minute and a half, for an
// issuer is asked once in half a minute: EGRESS_KEYS=1 runs it, as .ci/long does.
func TestFetchedKeysRotateAndTheIssuerGoesAway(t *testing.T) {
	if os.Getenv("EGRESS_KEYS") == "" {
		t.Skip("it waits for a minute and a half: EGRESS_KEYS=1 runs it")
	}
	t.Parallel()
	w := newAttestedWorld(t)
	p := w.started()
	stop := make(chan struct{})
	var load sync.WaitGroup
	first := w.issuer.Key("RS256")
	for range 2 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
				}
				if reason, err := w.shows(p, first); err != nil || reason != "" {
					t.Errorf("a caller is refused: %s, %v", reason, err)
					return
				}
			}
		})
	}
	defer load.Wait()
	defer sync.OnceFunc(func() { close(stop) })()
	w.must(w.issuer.Rotate())
	second := w.issuer.Key("RS256")
	if reason, err := w.shows(p, second); reason != "identity_rejected" || err != nil || w.fetched.Load() != 1 {
		t.Errorf("a key that came right behind the start: %q, %v, asked %d times", reason, err, w.fetched.Load())
	}
	w.awaits(t, p, second)
	if n := w.fetched.Load(); n != 2 {
		t.Errorf("asked %d times until the second key, want 2", n)
	}
	w.down.Store(true)
	w.must(w.issuer.Rotate())
	third := w.issuer.Key("RS256")
	for end := time.Now().Add(2 * time.Minute); w.fetched.Load() == 2; time.Sleep(time.Second) {
		if reason, err := w.shows(p, third); reason == "" || err != nil || time.Now().After(end) {
			t.Fatalf("a token of a key that nobody has fetched: %q, %v", reason, err)
		}
	}
	if reason, err := w.shows(p, second); reason != "" || err != nil {
		t.Errorf("the issuer is gone, and the last keys do not hold: %s, %v", reason, err)
	}
	w.down.Store(false)
	w.awaits(t, p, third)
	if !p.logged("the keys of an issuer cannot be fetched; the last good ones hold for a day") || !p.logged("the keys of an issuer can be fetched again") {
		t.Error("the log says nothing of an issuer that went away")
	}
}
