package hello

import (
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// The extensions that are looked into, and the one kind of name there is.
const (
	extServerName = 0      // RFC 6066, section 3
	extECH        = 0xfe0d // RFC 9849, section 5
	echOuter      = 0
	nameHost      = 0
)

// parseMessage reads the body of a ClientHello. The fields that say nothing
// about the name are stepped over: what they hold is between client and origin.
func parseMessage(body []byte) (Hello, error) {
	var random []byte
	var session, suites, compression, extensions cryptobyte.String
	s := cryptobyte.String(body)
	if !s.Skip(2) || !s.ReadBytes(&random, 32) ||
		!s.ReadUint8LengthPrefixed(&session) ||
		!s.ReadUint16LengthPrefixed(&suites) ||
		!s.ReadUint8LengthPrefixed(&compression) {
		return Hello{}, fmt.Errorf("%w: cut short", ErrMalformed)
	}
	if s.Empty() {
		return Hello{}, nil // extensions are optional up to TLS 1.2
	}
	if !s.ReadUint16LengthPrefixed(&extensions) || !s.Empty() {
		return Hello{}, fmt.Errorf("%w: length of the extensions", ErrMalformed)
	}
	return parseExtensions(extensions)
}

// parseExtensions reads the list of extensions.
func parseExtensions(s cryptobyte.String) (Hello, error) {
	var h Hello
	var seen kinds
	for !s.Empty() {
		var kind uint16
		var data cryptobyte.String
		if !s.ReadUint16(&kind) || !s.ReadUint16LengthPrefixed(&data) {
			return Hello{}, fmt.Errorf("%w: cut short in an extension", ErrMalformed)
		}
		if !seen.add(kind) {
			return Hello{}, fmt.Errorf("%w: extension %d twice", ErrMalformed, kind)
		}
		switch kind {
		case extServerName:
			if !h.readNames(data) {
				return Hello{}, fmt.Errorf("%w: server_name extension", ErrMalformed)
			}
		case extECH:
			h.ECH = len(data) > 0 && data[0] == echOuter
		}
	}
	return h, nil
}

// readNames reads the server_name extension. It returns false where the lengths
// do not fit; whether the names are any good is for Check to say.
func (h *Hello) readNames(s cryptobyte.String) bool {
	h.HasSNI = true
	if s.Empty() {
		return true
	}
	var list cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&list) || !s.Empty() {
		return false
	}
	for first := true; !list.Empty(); first = false {
		var kind uint8
		var name cryptobyte.String
		if !list.ReadUint8(&kind) || !list.ReadUint16LengthPrefixed(&name) {
			return false
		}
		if !first || kind != nameHost {
			h.several = true
			continue
		}
		h.size = uint8(copy(h.name[:], name))
		h.long = len(name) > maxName
	}
	return true
}

// kinds is the set of extensions seen. It is exact for those below 64, where
// all that servers commonly act on are found, and for ECH. The rest, private
// and GREASE, are left to the origin: a set of all 65,536 would cost every
// tunnel's stack 8 KiB, and searching a list is quadratic in what a client sends.
type kinds struct {
	low uint64
	ech bool
}

// add returns false if kind was there already.
func (k *kinds) add(kind uint16) bool {
	if kind == extECH {
		was := k.ech
		k.ech = true
		return !was
	}
	bit := uint64(1) << kind // none from 64 on, so those are always new
	was := k.low & bit
	k.low |= bit
	return was == 0
}
