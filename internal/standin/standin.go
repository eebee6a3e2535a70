// Package standin stands in for AWS where there is no account: for STS, which gives out
// web identity tokens, and for the issuer of an account, which publishes its keys.
//
// What it does: an [Issuer] makes keys, rotates them, signs tokens with the claims that
// AWS's have, and forges some that must not hold. Its Handler answers what STS and an
// issuer answer, as far as functions and the proxy ask. It signs with the standard
// library, so that what verifies shares no code with it.
//
// What it does not do: it authenticates nobody, knows no IAM policies, and is no part of
// the program. Command docs/sts serves it on loopback; tests use it as it is.
//
//	issuer, err := standin.New("111122223333", "http://127.0.0.1:8080")
//	token := issuer.Token(issuer.Function("eu-west-1", "billing", "https://egress.internal", time.Now(), 5*time.Minute))
package standin

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"time"
)

// Members is a JSON object.
type Members = map[string]any

// AWS is the name of the claim whose members STS makes.
const AWS = "https://sts.amazonaws.com/"

// Key is a private key with what tokens and key sets say of it.
type Key struct {
	ID        string
	Algorithm string        // RS256 or ES384, which tokens name
	Named     bool          // the key set names the algorithm too; AWS's RSA key does not
	Private   crypto.Signer // *rsa.PrivateKey or *ecdsa.PrivateKey
}

// Issuer is the issuer of one account's tokens. Safe for concurrent use.
type Issuer struct {
	Account string // twelve digits
	URL     string // the claim iss

	mu   sync.Mutex
	keys []Key // the first of an algorithm signs
	made int
}

// New returns an issuer with an RSA key, RSA_1, and one on P-384, EC384_1, as AWS's have.
func New(account, url string) (*Issuer, error) {
	i := &Issuer{Account: account, URL: url}
	if err := i.Rotate(); err != nil {
		return nil, err
	}
	private, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	i.keys = append(i.keys, Key{ID: "EC384_1", Algorithm: "ES384", Named: true, Private: private})
	return i, nil
}

// Clone returns an issuer that begins with the same keys: to make them is most of what an
// issuer costs.
func (i *Issuer) Clone() *Issuer {
	i.mu.Lock()
	defer i.mu.Unlock()
	return &Issuer{Account: i.Account, URL: i.URL, keys: slices.Clone(i.keys), made: i.made}
}

// Rotate adds an RSA key, which signs from now on. Those before it stay in the set.
func (i *Issuer) Rotate() error {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.made++
	i.keys = slices.Insert(i.keys, 0, Key{ID: fmt.Sprintf("RSA_%d", i.made), Algorithm: "RS256", Private: private})
	return nil
}

// Withdraw takes a key out of the set; what it has signed holds no more.
func (i *Issuer) Withdraw(id string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = slices.DeleteFunc(i.keys, func(k Key) bool { return k.ID == id })
}

// Set has other keys than those that were made.
func (i *Issuer) Set(keys ...Key) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = slices.Clone(keys)
}

// Key returns the key that signs by an algorithm; zero: there is none.
func (i *Issuer) Key(algorithm string) Key {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := slices.IndexFunc(i.keys, func(k Key) bool { return k.Algorithm == algorithm })
	if n < 0 {
		return Key{}
	}
	return i.keys[n]
}

// JWKS returns the set of keys (RFC 7517, section 5).
func (i *Issuer) JWKS() []byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	set := []Members{}
	for _, k := range i.keys {
		set = append(set, k.Public())
	}
	b, _ := json.Marshal(Members{"keys": set})
	return b
}

// Public returns the public key as a JWK.
func (k Key) Public() Members {
	m := Members{"kid": k.ID, "use": "sig"}
	if k.Named {
		m["alg"] = k.Algorithm
	}
	switch public := k.Private.Public().(type) {
	case *rsa.PublicKey:
		m["kty"], m["n"], m["e"] = "RSA", encode(public.N.Bytes()), encode(big.NewInt(int64(public.E)).Bytes())
	case *ecdsa.PublicKey:
		size := (public.Curve.Params().BitSize + 7) / 8
		point, _ := public.Bytes()
		m["kty"], m["crv"] = "EC", public.Curve.Params().Name
		m["x"], m["y"] = encode(point[1:1+size]), encode(point[1+size:])
	}
	return m
}

// Function returns the claims of a token that a Lambda function has asked for.
func (i *Issuer) Function(region, name, audience string, now time.Time, life time.Duration) Members {
	c := i.Role("service-role/"+name+"-role", audience, now, life)
	c[AWS].(Members)["lambda_source_function_arn"] = "arn:aws:lambda:" + region + ":" + i.Account + ":function:" + name
	c[AWS].(Members)["source_region"] = region
	return c
}

// Role returns the claims of a token that somebody else with credentials of a role has
// asked for, such as a task of ECS. path is the role's path and name.
func (i *Issuer) Role(path, audience string, now time.Time, life time.Duration) Members {
	return Members{
		"iss": i.URL, "aud": audience, "sub": "arn:aws:iam::" + i.Account + ":role/" + path,
		"iat": now.Unix(), "exp": now.Add(life).Unix(), "jti": rand.Text(),
		AWS: Members{"aws_account": i.Account, "org_id": "o-abc", "principal_id": "AROAEXAMPLE:session"},
	}
}

// Token signs claims as STS does by default, with the newest RSA key.
func (i *Issuer) Token(claimed Members) string {
	k := i.Key("RS256")
	return Sign(k, Members{"alg": "RS256", "kid": k.ID, "typ": "JWT"}, claimed)
}

// Sign signs a token with whatever header and claims.
func Sign(k Key, header, claimed Members) string {
	h, _ := json.Marshal(header)
	c, _ := json.Marshal(claimed)
	return SignBytes(k, h, c)
}

// SignBytes is Sign of what need not be JSON.
func SignBytes(k Key, header, claimed []byte) string {
	input := encode(header) + "." + encode(claimed)
	return input + "." + encode(signature(k, input))
}

// signature signs what stands before the second dot.
func signature(k Key, input string) []byte {
	switch private := k.Private.(type) {
	case *rsa.PrivateKey:
		sum := sha256.Sum256([]byte(input))
		s, _ := rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, sum[:])
		return s
	case *ecdsa.PrivateKey:
		sum := sha512.Sum384([]byte(input))
		r, s, _ := ecdsa.Sign(rand.Reader, private, sum[:])
		size := (private.Curve.Params().BitSize + 7) / 8
		return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
	default:
		return nil
	}
}

// SignHMAC signs a token by HS256 with bytes as the secret, such as those of a public key:
// who takes the algorithm from the header takes it for a signature of that key.
func SignHMAC(secret []byte, header, claimed Members) string {
	h, _ := json.Marshal(header)
	c, _ := json.Marshal(claimed)
	input := encode(h) + "." + encode(c)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	return input + "." + encode(mac.Sum(nil))
}

// encode is base64url without padding.
func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
