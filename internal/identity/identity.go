// Package identity answers one question: who is calling? A caller shows a
// client certificate, a token, or nothing but the address it comes from, and a
// Table tells which function of the file that is.
//
// What it does: it parses the value of a Proxy-Authorization header once into
// a typed Credential that holds no secret, reads the names out of a verified
// certificate, and looks a caller up without allocating. Everything that is
// shown must hold: a credential that does not is refused and never falls back
// to the source address. An unknown function and a wrong token cost the same.
//
// What it does not do: it verifies no certificate chain (crypto/tls has done
// so before), does not know what a function may reach (package policy does),
// reads no files and writes no records.
//
//	table, err := identity.New(entries)
//	cred, err := identity.ParseAuthorization(header)
//	id, err := table.Identify(identity.Caller{Credential: cred, Source: addr})
//	switch {
//	case errors.Is(err, identity.ErrRequired): … challenge …
//	case errors.Is(err, identity.ErrRejected): … refuse …
//	}
package identity

import (
	"errors"
	"net/netip"
)

var (
	// ErrRequired is returned where the caller shows nothing and its source
	// names no function: ask for a credential.
	ErrRequired = errors.New("identity required")
	// ErrRejected is returned where something that the caller shows does not
	// hold, or holds for a function that may not call from that source.
	ErrRejected = errors.New("identity rejected")
)

// Method is what identified a caller.
type Method uint8

const (
	// MethodNone identified nobody. It is the zero value.
	MethodNone Method = iota
	// MethodCertificate is a verified client certificate, with a token or without.
	MethodCertificate
	// MethodToken is a token in Proxy-Authorization.
	MethodToken
	// MethodSource is the caller's address alone.
	MethodSource
)

// String returns the word that records use: certificate, token or source. It
// is "" for MethodNone and for every unknown value.
func (m Method) String() string {
	switch m {
	case MethodCertificate:
		return "certificate"
	case MethodToken:
		return "token"
	case MethodSource:
		return "source"
	default:
		return ""
	}
}

// Identity is who calls. The zero Identity is nobody.
type Identity struct {
	Function string // a function of the file; "" is nobody
	Method   Method // what identified it
}

// Caller is what is known of a connection or request. The zero Caller shows
// nothing and comes from nowhere: it is nobody.
type Caller struct {
	// Credential is the one that was shown; zero: none was.
	Credential Credential
	// BadCredential tells that a Proxy-Authorization was shown that did not
	// parse, or that there was more than one. It is always rejected.
	BadCredential bool
	// Certificate holds the names of the verified client certificate, as
	// CertificateNames returns them. Nil: no certificate was shown. Not nil
	// and empty: one was that has no name, which is rejected.
	Certificate []string
	// Source is the address the caller comes from, of the PROXY header where
	// there is one. An IPv4-mapped address is unwrapped. Zero: unknown, which
	// lies in no range.
	Source netip.Addr
}

// Identify tells which function calls: by its certificate, else by its token,
// else by its source, the longest prefix first. A function that lists
// credentials and sources is found by the credential alone, and only from
// those sources. It returns ErrRequired or ErrRejected, on a nil Table always,
// and does not allocate.
func (t *Table) Identify(c Caller) (Identity, error) {
	source := c.Source.Unmap().WithZone("")
	if c.Certificate == nil && !c.BadCredential && !c.Credential.IsSet() {
		return t.bySource(source)
	}
	if t == nil || c.BadCredential {
		return Identity{}, ErrRejected
	}
	f, by := t.byCredentials(&c)
	if f == nil || !f.mayCallFrom(source) {
		return Identity{}, ErrRejected
	}
	return Identity{Function: f.name, Method: by}, nil
}

// byCredentials finds the one function that everything shown stands for; nil where
// something does not hold or stands for another.
func (t *Table) byCredentials(c *Caller) (f *function, by Method) {
	if c.Credential.IsSet() {
		if f, _ = t.byToken(&c.Credential); f == nil {
			return nil, MethodNone
		}
		by = MethodToken
	}
	if c.Certificate != nil {
		named := t.byCertificate(c.Certificate)
		if named == nil || f != nil && f != named {
			return nil, MethodNone
		}
		f, by = named, MethodCertificate
	}
	return f, by
}
