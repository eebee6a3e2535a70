package verifier

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/attest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/standin"
)

const audience = "https://egress.internal"

// fixture is an issuer, its keys as a verifier has them, and what is trusted.
type fixture struct {
	issuer    *standin.Issuer
	trust     *attest.Trust
	known     atomic.Pointer[attest.Keys] // nil: none
	refreshed atomic.Int64
	log       bytes.Buffer
	reg       *prometheus.Registry
	v         *Verifier
}

// newFixture makes one that verifies so many tokens at a time.
func newFixture(t testing.TB, atOnce int) *fixture {
	t.Helper()
	i, err := standin.New("111122223333", "https://issuer.example")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{issuer: i, reg: prometheus.NewRegistry()}
	f.trust = &attest.Trust{Audience: audience, Algorithms: []string{"RS256"}, MaxLifetime: time.Hour, Accounts: []attest.Account{{ID: i.Account, Issuer: i.URL}}}
	f.fetch()
	f.v = New(Options{
		Keys:    func(string) *attest.Keys { return f.known.Load() },
		Refresh: func(context.Context, string) bool { f.refreshed.Add(1); f.fetch(); return true },
		AtOnce:  atOnce, Registerer: f.reg, Logger: slog.New(slog.NewTextHandler(&f.log, nil)),
	})
	return f
}

// fetch takes the keys of the issuer as they are.
func (f *fixture) fetch() {
	k, _ := attest.ParseKeys(f.issuer.JWKS())
	f.known.Store(k)
}

// token is a new one that holds.
func (f *fixture) token() Token {
	return tokenOf(f.issuer.Token(f.issuer.Function("eu-west-1", "billing", audience, time.Now(), 5*time.Minute)))
}

func tokenOf(raw string) Token { return Token{raw, sha256.Sum256([]byte(raw))} }

// forged is a token that another key of the same name has signed.
func (f *fixture) forged(t testing.TB) Token {
	t.Helper()
	attacker, err := standin.New("111122223333", f.issuer.URL)
	if err != nil {
		t.Fatal(err)
	}
	return tokenOf(attacker.Token(attacker.Function("eu-west-1", "billing", audience, time.Now(), 5*time.Minute)))
}

// counted returns the metric of a result.
func (f *fixture) counted(t *testing.T, r attest.Result) float64 {
	t.Helper()
	families, err := f.reg.Gather()
	if err != nil || len(families) != 1 {
		t.Fatal(families, err)
	}
	for _, m := range families[0].GetMetric() {
		if m.GetLabel()[0].GetValue() == r.String() {
			return m.GetCounter().GetValue()
		}
	}
	t.Fatalf("no series of %v", r)
	return 0
}

var home = netip.MustParseAddr("10.0.0.1")

func TestTokenIsVerifiedOnceAndRemembered(t *testing.T) {
	f := newFixture(t, 1)
	good := f.token()
	if f.v.Remembered(good.Digest, f.trust, time.Now()) != nil {
		t.Fatal("a token that nobody has verified is remembered")
	}
	p, r, err := f.v.Verify(t.Context(), good, f.trust, home, false)
	if p == nil || r != attest.Verified || err != nil || p.ARN != "arn:aws:lambda:eu-west-1:111122223333:function:billing" {
		t.Fatalf("%+v, %v, %v", p, r, err)
	}
	if f.v.Remembered(good.Digest, f.trust, time.Now()) != p || f.v.Remembered(good.Digest, f.trust, time.Now().Add(time.Hour)) != nil {
		t.Error("it is not remembered until its end")
	}
	if n := testing.AllocsPerRun(100, func() { f.v.Remembered(good.Digest, f.trust, noTime) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if again, r, _ := f.v.Verify(t.Context(), good, f.trust, home, true); again != p || r != attest.Verified || f.counted(t, attest.Verified) != 1 {
		t.Error("it was verified again")
	}
	if f.v.Sweep(f.trust, time.Now().Add(time.Hour)); f.v.cache.Len() != 0 {
		t.Error("it stays behind its end")
	}
	var none *Verifier
	if none.Remembered(good.Digest, f.trust, time.Now()) != nil {
		t.Error("nobody remembers")
	}
	if p, r, _ := none.Verify(t.Context(), good, f.trust, home, false); p != nil || r == attest.Verified {
		t.Error("nobody verifies")
	}
}

// noTime is a time at which everything holds.
var noTime time.Time

func TestTokenThatDoesNotHoldIsCountedAndLoggedWithoutItself(t *testing.T) {
	f := newFixture(t, 1)
	for range 5 {
		bad := f.forged(t)
		if p, r, err := f.v.Verify(t.Context(), bad, f.trust, home, false); p != nil || r != attest.BadSignature || err != nil {
			t.Fatalf("%+v, %v, %v", p, r, err)
		}
		if f.v.Remembered(bad.Digest, f.trust, time.Now()) != nil || strings.Contains(f.log.String(), bad.Raw[:40]) {
			t.Error("it is remembered, or in the log")
		}
	}
	if got := f.log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "check=signature") || f.counted(t, attest.BadSignature) != 5 {
		t.Errorf("the log says %s", got)
	}
	if f.refreshed.Load() != 0 {
		t.Error("a bad signature asks for keys")
	}
}

func TestKeyThatIsNotThereIsAskedFor(t *testing.T) {
	f := newFixture(t, 1)
	_ = f.issuer.Rotate()
	if p, r, _ := f.v.Verify(t.Context(), f.token(), f.trust, home, false); p == nil || f.refreshed.Load() != 1 {
		t.Errorf("behind a rotation: %v, asked %d times", r, f.refreshed.Load())
	}
	f.known.Store(nil)
	if p, r, _ := f.v.Verify(t.Context(), f.token(), f.trust, home, false); p == nil || f.refreshed.Load() != 2 {
		t.Errorf("without keys: %v, asked %d times", r, f.refreshed.Load())
	}
	f.v.opt.Refresh = func(context.Context, string) bool { return false }
	f.known.Store(nil)
	if p, r, _ := f.v.Verify(t.Context(), f.token(), f.trust, home, false); p != nil || r != attest.NoKeys {
		t.Errorf("without keys and an issuer: %v", r)
	}
}

// order has waiters of sources behind a place that is taken, and returns in which order
// they get it. A name in upper case comes late.
func order(t *testing.T, names string) string {
	t.Helper()
	var got []byte
	synctest.Test(t, func(t *testing.T) {
		var s scheduler
		s.init(1)
		if err := s.acquire(t.Context(), home, false); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		var mu sync.Mutex
		for i := range len(names) {
			name := names[i]
			late := name < 'a'
			all.Go(func() {
				if s.acquire(t.Context(), netip.AddrFrom4([4]byte{10, 0, 0, name}), late) == nil {
					mu.Lock()
					got = append(got, name)
					mu.Unlock()
					s.release()
				}
			})
			synctest.Wait()
		}
		s.release()
		all.Wait()
		if s.free != 1 || len(s.each[0].lines)+len(s.each[1].lines) != 0 {
			t.Errorf("%d places are free", s.free)
		}
	})
	return string(got)
}

func TestSourcesHaveTheirTurnsAndThoseThatComeLateAreLast(t *testing.T) {
	for _, row := range [][2]string{
		{"abc", "abc"},
		{"aaaab", "abaaa"},             // a flood of one source costs another one turn
		{"aaabbc", "abcaba"},           // each has its turn
		{"AAAAb", "bAAAA"},             // who comes late is last
		{"ABAb", "bABA"},               // and among themselves they have theirs
		{"AAAAAAB", "ABAAAAA"},         // so that an honest one behind a flood is served
		{"Abbbbbbbbbb", "bbbbbbbAbbb"}, // last is not never
	} {
		if got := order(t, row[0]); got != row[1] {
			t.Errorf("%s: %s, want %s", row[0], got, row[1])
		}
	}
}

// The same by whole verifications: whose token is looked at next goes by where it was shown,
// a network of IPv6 being one source, and by whether that has shown too many.
func TestTokensAreVerifiedByTheTurnsOfTheirSources(t *testing.T) {
	f := newFixture(t, 1)
	var got []byte // the first letter of the issuer of each token that is looked at
	f.v.opt.Keys = func(issuer string) *attest.Keys {
		got = append(got, issuer[len("https://")])
		return f.known.Load()
	}
	sources := map[byte]string{'a': "10.0.0.1", 'b': "10.0.0.2", 'A': "10.0.0.1", 'x': "2001:db8::1", 'y': "2001:db8::2"}
	for name := range sources {
		f.trust.Accounts = append(f.trust.Accounts, attest.Account{ID: string(name), Issuer: "https://" + string(name)})
	}
	for _, row := range [][2]string{
		{"aaab", "abaa"},
		{"AAb", "bAA"}, // a source that comes late
		{"xyb", "xby"}, // two addresses of one network
	} {
		synctest.Test(t, func(t *testing.T) {
			got = nil
			if err := f.v.places.acquire(t.Context(), home, false); err != nil {
				t.Fatal(err)
			}
			var all sync.WaitGroup
			for i := range len(row[0]) {
				name := row[0][i]
				claims := f.issuer.Function("eu-west-1", "billing", audience, time.Now(), time.Minute)
				claims["iss"] = "https://" + string(name)
				token := tokenOf(f.issuer.Token(claims))
				all.Go(func() {
					_, _, _ = f.v.Verify(t.Context(), token, f.trust, netip.MustParseAddr(sources[name]), name < 'a')
				})
				synctest.Wait()
			}
			f.v.places.release()
			all.Wait()
			if string(got) != row[1] {
				t.Errorf("%s: %s, want %s", row[0], got, row[1])
			}
		})
	}
}

func TestWhoGivesUpLosesNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 1)
		_ = f.v.places.acquire(t.Context(), home, false)
		ctx, cancel := context.WithCancel(t.Context())
		told := make(chan error)
		go func() { _, _, err := f.v.Verify(ctx, f.token(), f.trust, home, false); told <- err }()
		go func() { _, _, err := f.v.Verify(t.Context(), f.token(), f.trust, home, false); told <- err }()
		synctest.Wait()
		cancel()
		if err := <-told; !errors.Is(err, context.Canceled) {
			t.Errorf("who gives up: %v", err)
		}
		f.v.places.release()
		if err := <-told; err != nil {
			t.Errorf("who waits behind: %v", err)
		}
		if f.v.places.free != 1 {
			t.Errorf("%d places are free", f.v.places.free)
		}
	})
}

// A flood of forged tokens from many connections of one address: a neighbour behind the
// same address, whose token is not remembered, is verified all the same.
func TestFloodOfForgedTokensStarvesNobody(t *testing.T) {
	f := newFixture(t, 1)
	forged := f.forged(t)
	ctx, cancel := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	for range 64 {
		flood.Go(func() {
			for ctx.Err() == nil {
				_, _, _ = f.v.Verify(ctx, forged, f.trust, home, true)
			}
		})
	}
	for _, row := range []struct {
		why    string
		source netip.Addr
		late   bool
	}{{"another source", netip.MustParseAddr("10.0.0.2"), false}, {"the same source", home, true}} {
		for range 20 {
			if p, r, err := f.v.Verify(t.Context(), f.token(), f.trust, row.source, row.late); p == nil {
				t.Errorf("%s: %v, %v", row.why, r, err)
			}
		}
	}
	cancel()
	flood.Wait()
	if f.counted(t, attest.BadSignature) == 0 {
		t.Error("there was no flood")
	}
}
