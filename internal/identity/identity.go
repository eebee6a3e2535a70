// Package identity answers one question: who is calling? A caller shows a
// client certificate, a token, a token of AWS, or nothing but the address it comes from,
// and a Table tells which function of the file that is.
//
// What it does: it parses the value of a Proxy-Authorization header once into
// a typed Credential that holds no secret, reads the names out of a verified
// certificate, and looks a caller up without allocating. Everything that is
// shown must hold: a credential that does not is refused and never falls back
// to the source address. An unknown function and a wrong token cost the same.
//
// What it does not do: it verifies no certificate that is shown (crypto/tls has done so
// before; a [Chain] is asked again later) and no token of AWS (package attest does; here
// principals are mapped to functions, and a new Table maps them anew), does not know what a function may reach
// (package policy does), reads no files and writes no records.
//
//	table, err := identity.New(entries)
//	cred, err := identity.ParseAuthorization(header)
//	id, err := table.Identify(identity.Caller{Credential: cred, Source: addr})
//	switch {
//	case errors.Is(err, identity.ErrRequired): … challenge …
//	case errors.Is(err, identity.ErrRejected): … refuse …
//	}
package identity

import "errors"

var (
	// ErrRequired is returned where the caller shows nothing and its source
	// names no function: ask for a credential.
	ErrRequired = errors.New("identity required")
	// ErrRejected is returned where something that the caller shows does not
	// hold, or holds for a function that may not call from that source.
	ErrRejected = errors.New("identity rejected")
)

// Identity is who calls. The zero Identity is nobody.
type Identity struct {
	Function string // a function of the file; "" is nobody
	Method   Method // what identified it
}
