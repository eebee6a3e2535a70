package hostname

import "strings"

// What other protocols call a name is wider than what ParseName accepts: an
// answer's alias may be of any octets, a server name is judged by a server that
// is laxer than we are. These are their forms; none of them makes a Name.

// Fold returns the form in which names of DNS messages and of hosts files are
// compared: lower case, without one trailing dot. It checks nothing, so an odd
// alias stays what it is. The name in a DNS message is ASCII, with escapes; in a
// file it may be other Unicode, whose case is lowered too.
func Fold(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }

// IsServerName reports whether name can be the server name of a ClientHello: it
// is made of letters, digits, hyphens and underscores in labels that are not
// empty, the last one not a number. The last rule keeps out IPv4 addresses in
// every spelling; the colon of IPv6 is not a letter. One trailing dot is allowed.
//
// It is laxer than ParseName about lengths, hyphens at the ends of labels,
// A-labels and the prefixes 0b and 0o: what a host is compared with is a Name.
func IsServerName(name []byte) bool {
	label := 0 // where the current label begins
	name = trimDot(name)
	for i, c := range name {
		switch classOf(c) {
		case byteLower, byteUpper:
			continue
		}
		if c != '.' || i == label {
			return false
		}
		label = i + 1
	}
	return !isHelloNumber(name[label:])
}

// EqualServerName reports whether the server name of a ClientHello is host,
// the text of a Name. The case of ASCII letters and one trailing dot of the
// server name are ignored. It is not strings.EqualFold because that wants a copy
// of name, and folds by Unicode, where the Kelvin sign is a k.
func EqualServerName(name []byte, host string) bool {
	name = trimDot(name)
	if len(name) != len(host) {
		return false
	}
	for i, c := range name {
		if lower(c) != host[i] {
			return false
		}
	}
	return true
}

// isHelloNumber reports whether the last label of a server name might be taken
// for a number: all digits, or hexadecimal after 0x. To be safe the empty label
// is one as well.
func isHelloNumber(label []byte) bool {
	hex := len(label) >= 2 && label[0] == '0' && lower(label[1]) == 'x'
	if hex {
		label = label[2:]
	}
	for _, c := range label {
		c = lower(c)
		if ('0' > c || c > '9') && (!hex || 'a' > c || c > 'f') {
			return false
		}
	}
	return true
}

// trimDot drops one trailing dot.
func trimDot(name []byte) []byte {
	if n := len(name); n > 0 && name[n-1] == '.' {
		return name[:n-1]
	}
	return name
}

// lower is the lower case of an ASCII letter, and c for anything else.
func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
