package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
)

// Limits of a credential in bytes, before base64.
const (
	maxFunction = 64
	maxSecret   = 512
	maxPlain    = maxFunction + 1 + maxSecret
	maxEncoded  = (maxPlain + 2) / 3 * 4
)

// ErrMalformed is the only error of ParseAuthorization. It quotes nothing of
// the header.
var ErrMalformed = errors.New("not the Basic credentials of a function and its token")

// basic is base64 as RFC 7617 uses it, with the padding and with no second
// spelling of the last byte.
var basic = base64.StdEncoding.Strict()

// Token is the SHA-256 of a token's secret.
type Token [sha256.Size]byte

// newSecret is the length of a new token's secret before it is encoded: 256 random bits.
const newSecret = 32

// NewToken makes a token. The secret is base64url: letters, digits, - and _ alone, which
// no client decodes.
func NewToken() (secret string, hash Token) {
	random := make([]byte, newSecret)
	_, _ = rand.Read(random) // never fails; see crypto/rand
	secret = base64.RawURLEncoding.EncodeToString(random)
	return secret, sha256.Sum256([]byte(secret))
}

// Credential is one parsed Proxy-Authorization: the name of the function that
// it claims and the hash of the secret. It holds no secret in clear and claims
// only; Identify reports whether it holds. The zero Credential is none.
type Credential struct {
	function [maxFunction]byte
	size     uint8 // of function; 0: none was claimed
	token    Token
	// attested: a token of AWS was shown, which Caller.Principal is of; function is then
	// what was claimed beside it, and may be empty.
	attested bool
}

// IsSet reports whether there is a credential.
func (c Credential) IsSet() bool { return c.size != 0 || c.attested }

// String returns the name that is claimed, so that a Credential that is
// printed by mistake shows no hash.
func (c Credential) String() string { return string(c.function[:c.size]) }

// ParseAuthorization parses the value of one Proxy-Authorization header: the
// scheme Basic in any case, one space or more (RFC 9110, section 11.4), and the padded
// base64 of function:secret (RFC 7617). The function is 1 to 64 bytes of
// [A-Za-z0-9-._~], the secret 1 to 512 bytes of printable ASCII, colons
// included. What is longer is refused before it is decoded or hashed. Every
// error is ErrMalformed. It does not allocate.
func ParseAuthorization(header string) (Credential, error) {
	const scheme = "Basic "
	if len(header) < len(scheme) || !strings.EqualFold(header[:len(scheme)], scheme) {
		return Credential{}, ErrMalformed
	}
	value := strings.TrimLeft(header[len(scheme):], " ")
	if len(value) > maxEncoded {
		return Credential{}, ErrMalformed
	}
	var encoded, plain [maxEncoded]byte
	n := copy(encoded[:], value)
	// The decoder skips line ends, which would make two spellings of one header.
	if strings.ContainsAny(value, "\r\n") {
		return Credential{}, ErrMalformed
	}
	n, err := basic.Decode(plain[:], encoded[:n])
	if err != nil {
		return Credential{}, ErrMalformed
	}
	return split(plain[:n])
}

// split takes function:secret apart at the first colon.
func split(plain []byte) (Credential, error) {
	var c Credential
	colon := -1
	for i, b := range plain {
		switch {
		case b < 0x20 || b > 0x7e:
			return Credential{}, ErrMalformed
		case colon >= 0:
		case b == ':':
			colon = i
		case i == maxFunction || !nameByte(b):
			return Credential{}, ErrMalformed
		default:
			c.function[i] = b
		}
	}
	secret := plain[colon+1:]
	if colon <= 0 || len(secret) == 0 || len(secret) > maxSecret {
		return Credential{}, ErrMalformed
	}
	c.size = uint8(colon)
	c.token = sha256.Sum256(secret)
	return c, nil
}

// ValidFunction reports whether s can be a function's name: 1 to 64 bytes of
// [A-Za-z0-9-._~], which clients send without percent-encoding.
func ValidFunction(s string) bool {
	if s == "" || len(s) > maxFunction {
		return false
	}
	for i := range len(s) {
		if !nameByte(s[i]) {
			return false
		}
	}
	return true
}

// nameByte reports whether a function's name may have the byte.
func nameByte(b byte) bool {
	switch {
	case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		return true
	default:
		return b == '-' || b == '.' || b == '_' || b == '~'
	}
}
