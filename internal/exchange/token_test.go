package exchange

import (
	"context"
	"crypto/sha256"
	"io"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/attest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/clientconn"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/standin"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verifier"
)

// attested is what serves requests that show tokens of AWS, which are verified one at a time.
type attested struct {
	t      *testing.T
	shared *Shared
	keys   func(issuer string) *attest.Keys
}

// newAttested returns one that trusts an issuer for each letter.
func newAttested(t *testing.T, issuers string) *attested {
	t.Helper()
	trust := &attest.Trust{Audience: "a", Algorithms: []string{attest.RS256}, MaxLifetime: time.Hour}
	for _, name := range issuers {
		trust.Accounts = append(trust.Accounts, attest.Account{ID: string(name), Issuer: "https://" + string(name)})
	}
	table, err := identity.NewTable(identity.Trust{AWS: trust}, []identity.Entry{{Function: "f", AWS: []string{"arn:aws:iam::111122223333:role/x"}}})
	if err != nil {
		t.Fatal(err)
	}
	a := &attested{t: t}
	a.shared = NewShared(Options{
		Policy: func() (*policy.Policy, *identity.Table) { return nil, table },
		Audit:  audit.New(io.Discard, audit.Options{}),
		Tokens: verifier.New(verifier.Options{
			AtOnce: 1, Keys: func(issuer string) *attest.Keys { return a.keys(issuer) },
			Refresh: func(context.Context, string) bool { return false },
		}),
	})
	return a
}

// shows begins a CONNECT from a source that shows a token of an issuer, up to where the
// token has to be verified.
func (a *attested) shows(source, issuer string) *Exchange {
	a.t.Helper()
	i := standin.Issuer{Account: "111122223333", URL: "https://" + issuer}
	token := standin.SignHMAC(nil, standin.Members{"alg": "RS256", "kid": "k"}, i.Role("x", "a", time.Now(), time.Minute))
	conn := &clientconn.Conn{Client: netip.AddrPortFrom(netip.MustParseAddr(source), 1)}
	x := a.shared.Begin(conn, gate.Connect, &httphead.Head{Method: "CONNECT", Target: "a.test:443", Minor: 1, Authorization: []string{"Bearer " + token}})
	if x.Advance() != gate.Token || x.Attested.Digest != sha256.Sum256([]byte(token)) {
		a.t.Fatal("nobody asks whom the token names")
	}
	return x
}

// Who has shown too much that does not hold waits behind all others, and is verified.
func TestTokenOfASpentSourceIsVerifiedLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAttested(t, "hsf")
		var order string
		held := make(chan struct{})
		a.keys = func(issuer string) *attest.Keys {
			if order += issuer[len("https://"):]; order == "h" {
				<-held
			}
			return nil
		}
		for range 60 {
			a.shared.Failures.Judge(netip.MustParseAddr("10.0.0.1"), time.Now())
		}
		var all sync.WaitGroup
		for _, row := range [][2]string{{"10.0.0.9", "h"}, {"10.0.0.1", "s"}, {"10.0.0.2", "f"}} {
			x := a.shows(row[0], row[1])
			all.Go(func() { x.VerifyToken(t.Context()) })
			synctest.Wait()
		}
		close(held)
		all.Wait()
		if order != "hfs" {
			t.Errorf("verified in the order %s, want hfs: the spent source last", order)
		}
		a.shared.Stop()
	})
}

// A token that has waited for its key leaves the lookup its part of what is left: the resolver
// would be said to be late that was asked too late.
func TestLookupBehindATokenHasItsPartOfTheTimeThatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAttested(t, "h")
		defer a.shared.Stop()
		var had time.Duration
		a.shared.Lookup = func(ctx context.Context, _ hostname.Name) (Resolved, error) {
			if at, ok := ctx.Deadline(); ok {
				had = time.Until(at)
			}
			return Resolved{}, context.DeadlineExceeded
		}
		for _, row := range [][2]time.Duration{{0, 3 * time.Second}, {4 * time.Second, 600 * time.Millisecond}} {
			x := a.shows("10.0.0.1", "h")
			time.Sleep(row[0])
			if x.LookupHost(t.Context()); had != row[1] {
				t.Errorf("%v behind its request a lookup has %v, want %v", row[0], had, row[1])
			}
		}
	})
}

// What has become of a token is the reason of the refusal: without keys nobody can say.
func TestTokenThatDoesNotHoldIsRefusedByWhatIsKnownOfIt(t *testing.T) {
	a := newAttested(t, "h")
	defer a.shared.Stop()
	i, err := standin.New("111122223333", "https://h")
	if err != nil {
		t.Fatal(err)
	}
	some, err := attest.ParseKeys(i.JWKS())
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		why, issuer string
		keys        *attest.Keys
		want        verdict.Reason
	}{
		{"no keys", "h", nil, verdict.ReasonKeysUnavailable},
		{"a key that there is not", "h", some, verdict.ReasonIdentityRejected},
		{"an issuer that is not trusted", "x", nil, verdict.ReasonIdentityRejected},
	} {
		a.keys = func(string) *attest.Keys { return row.keys }
		x := a.shows("10.0.0.1", row.issuer)
		if x.VerifyToken(t.Context()); x.Advance() != gate.Refused || x.Reason != row.want {
			t.Errorf("%s: reason %s, want %s", row.why, x.Reason, row.want)
		}
	}
}

// A token whose turn does not come in time is not said to be wrong.
func TestTokenThatNobodyHasLookedAtIsNotRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAttested(t, "h")
		held := make(chan struct{})
		a.keys = func(string) *attest.Keys { <-held; return nil }
		first, second := a.shows("10.0.0.1", "h"), a.shows("10.0.0.2", "h")
		done := make(chan struct{})
		go func() { defer close(done); first.VerifyToken(t.Context()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if second.VerifyToken(ctx); second.Advance() != gate.Refused || second.Reason != verdict.ReasonLimitTotal {
			t.Errorf("no turn came: reason %s", second.Reason)
		}
		close(held)
		<-done
		a.shared.Stop()
	})
}
