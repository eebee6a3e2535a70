//go:build torture

package torture

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/standin"
)

// The times of the key fetcher in the program under test (times_test.go), short so that
// all of them are met: an hour, half a minute, a day, ten seconds.
const (
	keysEvery  = 2500 * time.Millisecond
	keysApart  = time.Second
	keysLast   = 5 * time.Second
	keysWithin = 3 * time.Second
)

const (
	// fetchedAccount is the account whose keys are fetched, epsilon's.
	fetchedAccount = "444455556666"
	// unfetchedWrites is of how many writes of the policy one is without that account.
	unfetchedWrites = 7
)

// fetch is one request for the keys, as the issuer has seen it.
type fetch struct {
	arrived time.Time
	sending time.Time // when the first byte of good keys was about to be written; zero: it got none
	done    time.Time
	keys    []int // that it got
}

// fetchedIssuer is an issuer whose keys are fetched by HTTPS: it rotates them, and is slow,
// not there, or answers what is no set of its keys.
type fetchedIssuer struct {
	*issuer
	authority string // path of the certificate authority that the program trusts
	timeline  *timeline
	server    *http.Server
	own       tls.Certificate
	stranger  tls.Certificate // of an authority that nobody trusts

	mu      sync.Mutex
	way     way // how requests are answered now
	fetches []*fetch
	deceits map[string]bool // clients that have seen another's certificate
}

// way is how the issuer answers for a while.
type way struct {
	name     string // as a fault; "": well
	weight   int
	from, to int // milliseconds that it lasts
	answer   func(i *fetchedIssuer, w http.ResponseWriter, r *http.Request)
}

// rotation is the fault that another key is published, and the oldest is not any more.
const rotation = "fetched keys rotate"

// wrongCertificate is the fault that somebody else answers as the issuer.
const wrongCertificate = "issuer with another's certificate"

// ways are those in which the issuer is not well. What it answers then has an attacker's
// key, so that whoever takes it for keys lets the attacker in.
var ways = []way{
	{"issuer is down", 4, 300, 2500, func(i *fetchedIssuer, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write(i.attackers())
	}},
	{"issuer is down for long", 3, 8500, 10000, func(_ *fetchedIssuer, w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}},
	{"issuer is slow", 4, 500, 3000, func(i *fetchedIssuer, w http.ResponseWriter, r *http.Request) {
		pause := time.Duration(50+rand.IntN(900)) * time.Millisecond
		sleep(r.Context(), pause)
		i.answerWell(w, r)
	}},
	{"issuer hangs", 2, 500, 2500, func(_ *fetchedIssuer, _ http.ResponseWriter, r *http.Request) {
		sleep(r.Context(), keysWithin+time.Second)
	}},
	{"issuer answers garbage", 4, 300, 2500, func(i *fetchedIssuer, w http.ResponseWriter, _ *http.Request) {
		i.answerGarbage(w)
	}},
	{"issuer redirects", 2, 1500, 3000, func(_ *fetchedIssuer, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}},
	{wrongCertificate, 2, 1500, 3000, func(i *fetchedIssuer, w http.ResponseWriter, r *http.Request) {
		if i.deceived(r.RemoteAddr) {
			_, _ = w.Write(i.attackers())
			return
		}
		i.answerWell(w, r) // it has connected before
	}},
}

// newFetchedIssuer begins to serve. other is the issuer of another account.
func newFetchedIssuer(t testing.TB, line *timeline, other *issuer) (*fetchedIssuer, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	own, err := newIssuer(fetchedAccount, "https://localhost:"+port, epsilon)
	if err != nil {
		return nil, err
	}
	own.other, other.other = other, own
	authority := egresstest.NewAuthority(t)
	i := &fetchedIssuer{
		issuer: own, timeline: line, deceits: map[string]bool{}, authority: filepath.Join(t.TempDir(), "authority.pem"),
		own: authority.Issue("localhost"), stranger: egresstest.NewAuthority(t).Issue("localhost"),
	}
	if err := os.WriteFile(i.authority, authority.PEM(), 0o600); err != nil {
		return nil, err
	}
	i.server = &http.Server{
		Handler:   http.HandlerFunc(i.serve),
		TLSConfig: &tls.Config{GetCertificate: i.certificate},
		ErrorLog:  log.New(io.Discard, "", 0), // that clients go away, and do not trust it
	}
	go func() { _ = i.server.ServeTLS(ln, "", "") }()
	return i, nil
}

// close ends what newFetchedIssuer began.
func (i *fetchedIssuer) close() { _ = i.server.Close() }

// reset forgets a round, and returns its fetches in the order in which they arrived.
func (i *fetchedIssuer) reset() (all []fetch) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, f := range i.fetches {
		all = append(all, *f)
	}
	i.fetches = nil
	return all
}

// be changes the way.
func (i *fetchedIssuer) be(w way) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.way = w
}

// certificate is what a client sees.
func (i *fetchedIssuer) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.way.name != wrongCertificate {
		return &i.own, nil
	}
	i.deceits[hello.Conn.RemoteAddr().String()] = true
	return &i.stranger, nil
}

// deceived reports whether a client has seen another's certificate.
func (i *fetchedIssuer) deceived(client string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.deceits[client]
}

// serve answers one request, and writes down what came of it.
func (i *fetchedIssuer) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/.well-known/jwks.json" {
		_, _ = w.Write(i.attackers()) // a redirect was followed
		return
	}
	i.mu.Lock()
	f := &fetch{arrived: time.Now()}
	i.fetches = append(i.fetches, f)
	answer := i.way.answer
	i.mu.Unlock()
	if answer == nil {
		answer = (*fetchedIssuer).answerWell
	}
	answer(i, w, r.WithContext(context.WithValue(r.Context(), fetchKey{}, f)))
	i.mu.Lock()
	defer i.mu.Unlock()
	f.done = time.Now()
}

// fetchKey is what a request's context has its fetch by.
type fetchKey struct{}

// answerWell answers with the keys that are published.
func (i *fetchedIssuer) answerWell(w http.ResponseWriter, r *http.Request) {
	some := i.published()
	body := i.set(some...)
	f := r.Context().Value(fetchKey{}).(*fetch)
	i.mu.Lock()
	f.keys, f.sending = some, time.Now()
	i.mu.Unlock()
	_, _ = w.Write(body)
}

// attackers is a set of keys by which an attacker's tokens hold, and those of its own.
func (i *fetchedIssuer) attackers() []byte {
	some := i.published()
	good := i.keys[some[publishedKeys-1]]
	return setOf(i.keys[some[0]], standin.Key{ID: good.ID, Algorithm: good.Algorithm, Private: i.forger.Private})
}

// answerGarbage answers what is no set of keys, by turns.
func (i *fetchedIssuer) answerGarbage(w http.ResponseWriter) {
	bad := i.attackers()
	switch rand.IntN(7) {
	case 0:
		_, _ = io.WriteString(w, "<!doctype html><title>503</title>")
	case 1:
		_, _ = io.WriteString(w, `{"keys":[]}`)
	case 2: // one name with two keys
		_, _ = w.Write(setOf(i.keys[0], standin.Key{ID: i.keys[0].ID, Algorithm: "RS256", Private: i.forger.Private}))
	case 3: // it ends early
		w.Header().Set("Content-Length", fmt.Sprint(len(bad)+1))
		_, _ = w.Write(bad)
	case 4: // it is too large
		_, _ = w.Write(append(bad, bytes.Repeat([]byte(" "), 1<<20)...))
	case 5:
		_, _ = w.Write(bad[:len(bad)/2])
	default: // another status than 200
		w.WriteHeader(http.StatusNonAuthoritativeInfo)
		_, _ = w.Write(bad)
	}
}

// change rotates keys and changes the ways, as far as faults has them, until ctx ends; then
// the issuer is well. nil: all of them. What it returns is closed when that is over.
func (i *fetchedIssuer) change(ctx context.Context, seed uint64, faults []string) <-chan struct{} {
	over := make(chan struct{})
	chosen := func(name string) bool { return faults == nil || slices.Contains(faults, name) }
	some := slices.DeleteFunc(slices.Clone(ways), func(w way) bool { return !chosen(w.name) })
	total := 0
	for _, w := range some {
		total += w.weight
	}
	go func() {
		defer close(over)
		r := rand.New(rand.NewPCG(seed, 3))
		for milliseconds(ctx, r, 300, 1800); ctx.Err() == nil && (total > 0 || chosen(rotation)); milliseconds(ctx, r, 300, 1800) {
			if chosen(rotation) && (total == 0 || r.IntN(2) == 0) {
				i.timeline.count(rotation)
				i.advance()
				continue
			}
			at := r.IntN(max(total, 1))
			for _, w := range some {
				if at -= w.weight; at < 0 {
					i.timeline.count(w.name)
					i.be(w)
					milliseconds(ctx, r, w.from, w.to)
					break
				}
			}
			i.be(way{})
		}
	}()
	return over
}

// milliseconds waits for a random time, or until ctx ends.
func milliseconds(ctx context.Context, r *rand.Rand, from, to int) {
	sleep(ctx, time.Duration(from+r.IntN(to-from))*time.Millisecond)
}

// fetchedRecipes are the kinds of operations that show tokens of the issuer whose keys are
// fetched.
var fetchedRecipes = []recipe{
	{"tunnel by fetched keys", 10, func(w *world, r *rand.Rand, o *operation) {
		o.attest(w.fetched.issuer, r, false)
		o.name(pick(r, "one", "third"), pick(r, zoneBoth, zoneRaw, zoneRaw))
	}},
	{"long tunnel by fetched keys", 1, func(w *world, r *rand.Rand, o *operation) {
		o.attest(w.fetched.issuer, r, false)
		o.long, o.transfer.up, o.transfer.down = true, 3000, r.Int64N(2<<10)
		o.name("one", zoneRaw)
	}},
	{"token by fetched keys, its key may be gone", 6, func(w *world, r *rand.Rand, o *operation) {
		o.attest(w.fetched.issuer, r, true)
		o.name("one", zoneRaw)
	}},
	{"forged token, by fetched keys", 4, func(w *world, r *rand.Rand, o *operation) {
		o.forge(w.fetched.issuer, r)
		o.source = forgersAt(r)
		o.name("one", zoneRaw)
	}},
	{"token of AWS that another issuer has signed", 3, func(w *world, r *rand.Rand, o *operation) {
		i := pick(r, w.issuer, w.fetched.issuer, w.fetched.issuer)
		o.function, o.credential, o.token = i.function, forgedToken, i.borrowed(r)
		o.source = forgersAt(r)
		o.name("one", zoneRaw)
	}},
}
