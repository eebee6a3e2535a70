//go:build torture

package torture

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/standin"
)

// delta and epsilon are the functions that AWS attests: they show tokens that an issuer has
// signed. The keys of delta's are in a file, those of epsilon's are fetched (fetched_test.go).
const (
	delta   = "delta"
	epsilon = "epsilon"
)

const (
	awsAudience = "https://egress.torture"
	awsAccount  = "111122223333"
	awsIssuer   = "https://issuer.torture"
	// awsToken is a credential that the function's issuer has signed; it holds while the
	// program has the key. forgedToken never holds.
	awsToken    = "aws"
	forgedToken = "forged"
	// awsLife is how long a token lives, and awsFresh how long it is shown to new requests:
	// no round is as long as what is between.
	awsLife  = 14 * time.Minute
	awsFresh = 8 * time.Minute
	// publishedKeys is how many keys of all are published at a time.
	publishedKeys = 2
	allKeys       = 5
)

// issuer is an account's issuer: the keys that it has by turns, and tokens of each.
type issuer struct {
	*standin.Issuer
	function string // whom it attests
	keys     []standin.Key
	forger   standin.Key // an attacker's
	other    *issuer     // of another account; its keys have the same names

	mu    sync.Mutex
	first int                // of the keys that are published
	shown [allKeys][]awsShow // tokens that were made
	flood awsShow            // what attackers show
}

// awsShow is a token and when it was made.
type awsShow struct {
	token string
	made  time.Time
}

// newIssuer makes all keys that there will be.
func newIssuer(account, url, function string) (*issuer, error) {
	i := &issuer{Issuer: &standin.Issuer{Account: account, URL: url}, function: function}
	for range allKeys + 1 {
		if err := i.Rotate(); err != nil {
			return nil, err
		}
		i.keys = append(i.keys, i.Key("RS256"))
	}
	i.forger, i.keys = i.keys[allKeys], i.keys[:allKeys]
	return i, nil
}

// arnOf is the ARN of a Lambda function.
func arnOf(account, name string) string {
	return "arn:aws:lambda:eu-west-1:" + account + ":function:" + name
}

// published returns which keys are published; the last of them signs.
func (i *issuer) published() (some []int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for n := range publishedKeys {
		some = append(some, (i.first+n)%allKeys)
	}
	return some
}

// advance publishes one key more and takes the oldest back.
func (i *issuer) advance() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.first = (i.first + 1) % allKeys
}

// set writes those keys as they are published.
func (i *issuer) set(some ...int) []byte {
	var keys []standin.Key
	for _, n := range some {
		keys = append(keys, i.keys[n])
	}
	return setOf(keys...)
}

// setOf writes a set of keys.
func setOf(keys ...standin.Key) []byte {
	var published standin.Issuer
	published.Set(keys...)
	return published.JWKS()
}

// publish writes those keys into a file; bad: what is no set of keys.
func (i *issuer) publish(path string, some []int, bad bool) error {
	b := i.set(some...)
	if bad {
		b = []byte("<!doctype html><title>503</title>")
	}
	return os.WriteFile(path, b, 0o600)
}

// claims are those of a token that the function gets now.
func (i *issuer) claims() standin.Members {
	return i.Function("eu-west-1", i.function, awsAudience, time.Now(), awsLife)
}

// borrowed returns a token that says it is of this issuer, and that the other one has
// signed by a key which it publishes.
func (i *issuer) borrowed(r *rand.Rand) string {
	some := i.other.published()
	k := i.other.keys[some[r.IntN(len(some))]]
	return standin.Sign(k, standin.Members{"alg": "RS256", "kid": k.ID}, i.claims())
}

// token returns a token that a key has signed: one that was shown before, or a new one.
func (i *issuer) token(r *rand.Rand, key int) string {
	again := r.IntN(3) > 0
	i.mu.Lock()
	defer i.mu.Unlock()
	fresh := slices.DeleteFunc(i.shown[key], func(s awsShow) bool { return time.Since(s.made) > awsFresh })
	if len(fresh) == 0 || !again {
		k := i.keys[key]
		fresh = append(fresh, awsShow{standin.Sign(k, standin.Members{"alg": "RS256", "kid": k.ID, "typ": "JWT"}, i.claims()), time.Now()})
	}
	i.shown[key] = fresh[max(0, len(fresh)-20):]
	return fresh[r.IntN(len(fresh))].token
}

// forgery returns a token that must not hold whatever is published.
func (i *issuer) forgery(r *rand.Rand) string {
	published := i.published()
	good := i.keys[published[publishedKeys-1]]
	bad := standin.Key{ID: good.ID, Algorithm: good.Algorithm, Private: i.forger.Private}
	head := standin.Members{"alg": "RS256", "kid": good.ID}
	with := func(k standin.Key, h, c standin.Members) string {
		merged, claimed := maps.Clone(head), i.claims()
		maps.Copy(merged, h)
		maps.Copy(claimed, c)
		return standin.Sign(k, merged, claimed)
	}
	now := time.Now()
	switch r.IntN(12) {
	case 0:
		return with(good, standin.Members{"alg": "none"}, nil)
	case 1:
		der, _ := x509.MarshalPKIXPublicKey(good.Private.Public())
		hs := maps.Clone(head)
		hs["alg"] = "HS256"
		return standin.SignHMAC(der, hs, i.claims())
	case 2:
		return with(bad, standin.Members{"jwk": bad.Public()}, nil)
	case 3:
		return with(good, standin.Members{"crit": []string{"exp"}}, nil)
	case 4:
		return with(good, nil, standin.Members{"aud": awsAudience + "/"})
	case 5:
		return with(good, nil, standin.Members{"iat": now.Add(-time.Hour).Unix(), "exp": now.Add(-time.Second).Unix()})
	case 6:
		return with(good, nil, standin.Members{"exp": now.Add(time.Hour).Unix()})
	case 7:
		return with(good, nil, standin.Members{"iss": "https://other.torture"})
	case 8:
		return standin.Sign(good, head, i.Function("eu-west-1", "other", awsAudience, now, awsLife))
	case 9:
		return with(good, nil, nil) + "="
	case 10:
		return strings.Repeat("j", 8193)
	default:
		return with(bad, nil, nil)
	}
}

// stolen is one forged token, whose signature alone is wrong: each costs its verification.
// known: its key is one of the issuer's, else the issuer has to be asked for it.
func (i *issuer) stolen(known bool) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	if time.Since(i.flood.made) > awsFresh {
		kid := "RSA_made_up"
		if known {
			kid = i.keys[(i.first+publishedKeys-1)%allKeys].ID
		}
		i.flood = awsShow{standin.Sign(standin.Key{Private: i.forger.Private}, standin.Members{"alg": "RS256", "kid": kid}, i.claims()), time.Now()}
	}
	return i.flood.token
}

// attest makes the client one that shows a token of an issuer, by a key that is published
// now, or by any.
func (o *operation) attest(i *issuer, r *rand.Rand, any bool) {
	some := i.published()
	o.key = some[r.IntN(len(some))]
	if any {
		o.key = r.IntN(allKeys)
	}
	o.function, o.credential, o.basic = i.function, awsToken, r.IntN(4) == 0
	o.token = i.token(r, o.key)
}

// forge makes the client one that shows what is no token of the issuer: one of many
// forgeries, or one that another issuer has signed.
func (o *operation) forge(i *issuer, r *rand.Rand) {
	o.function, o.credential, o.basic = i.function, forgedToken, r.IntN(4) == 0
	if r.IntN(4) == 0 {
		o.token = i.borrowed(r)
		return
	}
	o.token = i.forgery(r)
}

// attestedField returns the field of a token of AWS.
func (o *operation) attestedField() string {
	value := "Bearer " + o.token
	if o.basic {
		value = "Basic " + base64.StdEncoding.EncodeToString([]byte(o.function+":"+o.token))
	}
	return "Proxy-Authorization: " + value + "\r\n"
}

// attestedRecipes are the kinds of operations that show tokens of AWS.
var attestedRecipes = []recipe{
	{"tunnel by a token of AWS", 10, func(w *world, r *rand.Rand, o *operation) {
		o.attest(w.issuer, r, false)
		o.name(pick(r, "one", "third"), pick(r, zoneBoth, zoneBoth, zoneRaw))
	}},
	{"long tunnel by a token of AWS", 2, func(w *world, r *rand.Rand, o *operation) {
		o.attest(w.issuer, r, false)
		o.long, o.transfer.up, o.transfer.down = true, 3000, r.Int64N(2<<10)
		o.name("one", zoneRaw)
	}},
	{"token of AWS, its key may be gone", 6, func(w *world, r *rand.Rand, o *operation) {
		o.attest(w.issuer, r, true)
		o.name("one", zoneRaw)
	}},
	{"token of AWS, from among forgers", 3, func(w *world, r *rand.Rand, o *operation) {
		o.attest(w.issuer, r, false)
		o.source = forgersAt(r)
		o.name("one", pick(r, zoneRaw, zoneNever))
	}},
	{"forged token of AWS", 6, func(w *world, r *rand.Rand, o *operation) {
		o.forge(w.issuer, r)
		o.source = forgersAt(r)
		o.name("one", zoneBoth)
	}},
}

// forgersAt is where forgers are, and some honest callers.
func forgersAt(r *rand.Rand) netip.Addr { return addrOf(70, 1, byte(1+r.IntN(4))) }

// keyed changes what is expected of a token of AWS by whether its key is published. While
// one load follows another, the keys are those of either.
func keyed(o *operation, possible []policyWrite, e expectation) expectation {
	published, all := false, true
	for _, one := range possible {
		has := slices.Contains(one.keys, o.key)
		published, all = published || has, all && has
	}
	switch {
	case o.credential != awsToken || o.function != delta, all:
		return e
	case !published:
		return refuseBy("identity_rejected", "limit_failures")
	}
	e.refuse = append(slices.Clone(e.refuse), "identity_rejected", "limit_failures")
	return e
}

// rotateKeys publishes another key, takes the oldest back, and reloads.
func (n *nemesis) rotateKeys(context.Context) error {
	n.world.issuer.advance()
	return n.reload(true)
}

// keysPath is the file of keys that goes with a write of the policy.
func (w *world) keysPath(serial int) string {
	return filepath.Join(w.dir, fmt.Sprintf("keys.%d.json", serial))
}

// awsSection is what the policy file says of tokens of AWS.
func (w *world) awsSection(v *variant, serial int) string {
	accounts := fmt.Sprintf("%q: {issuer: %q, organization: o-abc, keys: %q}", awsAccount, awsIssuer, w.keysPath(serial))
	if !v.unfetched {
		accounts += fmt.Sprintf(", %q: {issuer: %q, organization: o-abc}", fetchedAccount, w.fetched.URL)
	}
	return fmt.Sprintf("aws: {audience: %q, accounts: {%s}}\n", awsAudience, accounts)
}

// attestedEntry is how the policy file knows a function that AWS attests. Without the
// account of the fetched keys epsilon is somebody with a secret that nobody has.
func (v *variant) attestedEntry(function string) string {
	switch {
	case function == epsilon && v.unfetched:
		return fmt.Sprintf("tokens: [\"sha256:%x\"]", sha256.Sum256([]byte(tokenOf("nobody"))))
	case function == epsilon:
		return fmt.Sprintf("aws: [%q]", arnOf(fetchedAccount, epsilon))
	case v.strangers:
		return fmt.Sprintf("aws: [%q]", arnOf(awsAccount, "stranger"))
	default:
		return fmt.Sprintf("aws: [%q]", arnOf(awsAccount, delta))
	}
}
