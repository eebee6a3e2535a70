package attest

import (
	"bytes"
	"encoding/base64"
	stdjson "encoding/json"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4/json"
)

// base64url is base64url without padding, and with no second spelling of the last byte
// (RFC 7515, section 2).
var base64url = base64.RawURLEncoding.Strict()

// LooksLikeToken reports whether a secret can be a token: three parts, of which the
// first begins as base64url of a JSON object does. No other secret is taken for one.
func LooksLikeToken(secret string) bool {
	return strings.HasPrefix(secret, "eyJ") && strings.Count(secret, ".") == 2
}

// parsed is a token whose form is right. Nothing it says is proved.
type parsed struct {
	header header
	claims claims
}

// header is what is read of a JOSE header (RFC 7515, section 4.1). Keys in it, and where
// some would be, are not read.
type header struct {
	Algorithm string             `json:"alg"`
	KeyID     string             `json:"kid"`
	Type      string             `json:"typ"`
	Critical  stdjson.RawMessage `json:"crit"`
}

// parse reads a token of strict form. Any Result but Verified refuses it.
func parse(raw string) (p parsed, r Result) {
	if len(raw) > MaxToken {
		return p, Malformed
	}
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return p, Malformed
	}
	var plain [3][]byte
	for i, part := range parts {
		b, err := base64url.DecodeString(part)
		// The decoder skips line ends, which would make two spellings of one token.
		if err != nil || len(b) == 0 || strings.ContainsAny(part, "\r\n") {
			return p, Malformed
		}
		plain[i] = b
	}
	if r := decode(plain[0], &p.header); r != Verified {
		return p, r
	}
	switch {
	case len(p.header.Critical) > 0:
		return p, Critical
	case p.header.Type != "" && !strings.EqualFold(p.header.Type, "JWT"):
		return p, Malformed
	}
	return p, decode(plain[1], &p.claims)
}

// decode reads one JSON object without duplicate members. Members are told apart by
// case, which encoding/json would not do.
func decode(b []byte, into any) Result {
	if r := checkObject(b); r != Verified {
		return r
	}
	if json.Unmarshal(b, into) != nil {
		return Malformed
	}
	return Verified
}

// checkObject looks through an object to its end, at every depth.
func checkObject(b []byte) Result {
	if !utf8.Valid(b) {
		return Malformed // what is replaced could make one name of two
	}
	d := stdjson.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	first, err := d.Token()
	if err != nil || first != stdjson.Delim('{') {
		return Malformed
	}
	if r := checkMembers(d, '{'); r != Verified {
		return r
	}
	if _, err := d.Token(); err != io.EOF {
		return Malformed
	}
	return Verified
}

// checkMembers looks through what has been opened, an object or an array. It keeps the
// depth on a list of its own, so that a deep one does not take the stack.
func checkMembers(d *stdjson.Decoder, opened stdjson.Delim) Result {
	type level struct {
		members map[string]bool // nil: an array
		isKey   bool            // of an object: the next token is a member's name
	}
	open := func(delim stdjson.Delim) level {
		if delim == '{' {
			return level{members: map[string]bool{}, isKey: true}
		}
		return level{}
	}
	levels := []level{open(opened)}
	for len(levels) > 0 {
		token, err := d.Token()
		if err != nil {
			return Malformed
		}
		top := &levels[len(levels)-1]
		delim, isDelim := token.(stdjson.Delim)
		switch {
		case isDelim && (delim == '}' || delim == ']'):
			levels = levels[:len(levels)-1]
		case top.members != nil && top.isKey:
			name, _ := token.(string)
			if top.members[name] {
				return Duplicate
			}
			top.members[name], top.isKey = true, false
		default:
			top.isKey = top.members != nil
			if isDelim {
				levels = append(levels, open(delim))
			}
		}
	}
	return Verified
}
