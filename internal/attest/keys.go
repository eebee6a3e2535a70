package attest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // thumbprints
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// MaxKeys is the length of the longest set of keys that is read, in bytes.
const MaxKeys = 1 << 20

// minRSA is the least number of bits of an RSA key (RFC 7518, section 3.3).
const minRSA = 2048

// maxRSA bounds what a verification costs.
const maxRSA = 4096

// Keys are the public keys of one issuer. They are not changed. Nil Keys have none.
type Keys struct{ byID map[string]*Key }

// Key is one public key.
type Key struct {
	public     any    // *rsa.PublicKey or *ecdsa.PublicKey
	algorithm  string // the one that it is for
	thumbprint string // RFC 7638: two keys that have the same are one
}

// Find returns the key of a kid; nil: there is none, or kid is empty.
func (k *Keys) Find(kid string) *Key {
	if k == nil || kid == "" {
		return nil
	}
	return k.byID[kid]
}

// Len returns how many keys there are.
func (k *Keys) Len() int {
	if k == nil {
		return 0
	}
	return len(k.byID)
}

// has reports whether the key is still one of the set, under whatever kid.
func (k *Keys) has(key *Key) bool {
	if k == nil || key == nil {
		return false
	}
	for _, of := range k.byID {
		if of == key || of.thumbprint == key.thumbprint {
			return true
		}
	}
	return false
}

// ParseKeys reads a JWK Set (RFC 7517, section 5). Keys that tokens cannot be signed
// with are left out: other types, RSA of less than 2048 bits or more than 4096, other
// curves than P-384, keys for encryption, keys without kid. The error is that there is no
// set, no key left, a private key in it, or one kid with two keys.
func ParseKeys(b []byte) (*Keys, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if len(b) > MaxKeys {
		return nil, fmt.Errorf("it is larger than %d bytes", MaxKeys)
	}
	if err := json.Unmarshal(b, &set); err != nil || set.Keys == nil {
		return nil, errors.New("it is no JWK Set: a JSON object with keys")
	}
	keys := &Keys{byID: map[string]*Key{}}
	for _, raw := range set.Keys {
		var jwk jose.JSONWebKey
		if jwk.UnmarshalJSON(raw) != nil {
			continue // of a type that is not for us
		}
		if !jwk.IsPublic() && jwk.Valid() {
			return nil, errors.New("it has a key that is no public one")
		}
		key := usable(&jwk)
		if key == nil {
			continue
		}
		if first := keys.byID[jwk.KeyID]; first != nil && first.thumbprint != key.thumbprint {
			return nil, fmt.Errorf("it has two keys with the kid %.64q", jwk.KeyID)
		}
		keys.byID[jwk.KeyID] = key
	}
	if len(keys.byID) == 0 {
		return nil, errors.New("it has no key that tokens can be signed with: RSA of 2048 bits or more, or P-384")
	}
	return keys, nil
}

// usable returns the key of a JWK, nil if tokens cannot be signed with it. A key without
// alg has that of its type: AWS's RSA key has none.
func usable(jwk *jose.JSONWebKey) *Key {
	if jwk.KeyID == "" || jwk.Use != "" && jwk.Use != "sig" || !jwk.Valid() {
		return nil
	}
	algorithm := algorithmOf(jwk.Key)
	if algorithm == "" || jwk.Algorithm != "" && jwk.Algorithm != algorithm {
		return nil
	}
	thumbprint, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil
	}
	return &Key{public: jwk.Key, algorithm: algorithm, thumbprint: string(thumbprint)}
}

// algorithmOf returns the algorithm that a public key is for; "": none of ours.
func algorithmOf(key any) string {
	switch public := key.(type) {
	case *rsa.PublicKey:
		if bits := public.N.BitLen(); bits >= minRSA && bits <= maxRSA {
			return RS256
		}
	case *ecdsa.PublicKey:
		if public.Curve == elliptic.P384() {
			return ES384
		}
	}
	return ""
}
