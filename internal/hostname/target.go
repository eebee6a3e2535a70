package hostname

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ErrBadTarget is wrapped by every error of ParseTarget and ParseAuthority.
var ErrBadTarget = errors.New("not a target")

// Host is where a request wants to go: a name or an address, never both. The
// zero Host is neither and is refused.
type Host struct {
	name Name
	addr netip.Addr
}

// NameHost returns the Host of a name.
func NameHost(n Name) Host { return Host{name: n} }

// AddrHost returns the Host of a literal address; an IPv4-mapped one is
// unwrapped. A zone belongs to one machine's interfaces, so an address that
// has one is not a host: the zero Host.
func AddrHost(a netip.Addr) Host {
	if a.Zone() != "" {
		return Host{}
	}
	return Host{addr: a.Unmap()}
}

// Name returns the name, or the zero Name where the host is an address.
func (h Host) Name() Name { return h.name }

// Addr returns the address, unmapped and without a zone, or the zero Addr
// where the host is a name.
func (h Host) Addr() netip.Addr { return h.addr }

// IsZero reports whether h is neither a name nor an address.
func (h Host) IsZero() bool { return h.name.IsZero() && !h.addr.IsValid() }

// String returns the canonical text, an IPv6 address without brackets.
func (h Host) String() string {
	if h.addr.IsValid() {
		return h.addr.String()
	}
	return h.name.s
}

// Target is a host and a port. The zero Target is refused.
type Target struct {
	Host Host
	Port uint16 // 1-65535; 0 is not a port
}

// String returns host:port, an IPv6 address in brackets.
func (t Target) String() string {
	if t.Host.addr.IsValid() {
		return netip.AddrPortFrom(t.Host.addr, t.Port).String()
	}
	return t.Host.name.s + ":" + strconv.Itoa(int(t.Port))
}

// Parts returns the text of the host's name, or its address, as Host.Name and
// Host.Addr do. It copies neither of the two: a matcher is asked for each request.
func (t *Target) Parts() (name string, addr netip.Addr) { return t.Host.name.s, t.Host.addr }

// ParseTarget parses the authority-form of a CONNECT (RFC 9112, section
// 3.2.3): host and port, both there, nothing else. An IPv6 address stands in
// brackets and has no zone.
func ParseTarget(s string) (Target, error) { return ParseAuthority(s, 0) }

// ParseAuthority parses host[:port] (RFC 3986, section 3.2, without
// userinfo). Where the port is absent it is defaultPort; if that is 0 an
// absent port is an error. Errors wrap ErrBadTarget and quote nothing of s.
func ParseAuthority(s string, defaultPort uint16) (Target, error) {
	host, port, hasPort := s, "", false
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return Target{}, fmt.Errorf("%w: a bracket is not closed", ErrBadTarget)
		}
		host, port = s[:end+1], s[end+1:]
		if port != "" && port[0] != ':' {
			return Target{}, fmt.Errorf("%w: text between bracket and port", ErrBadTarget)
		}
		hasPort = port != ""
		port = strings.TrimPrefix(port, ":")
	} else if i := strings.IndexByte(s, ':'); i >= 0 {
		host, port, hasPort = s[:i], s[i+1:], true
	}
	t := Target{Port: defaultPort}
	var err error
	if hasPort {
		if t.Port, err = parsePort(port); err != nil {
			return Target{}, err
		}
	}
	if t.Port == 0 {
		return Target{}, fmt.Errorf("%w: no port", ErrBadTarget)
	}
	if t.Host, err = parseHost(host); err != nil {
		return Target{}, err
	}
	return t, nil
}

// parsePort parses a decimal port without sign, space or leading zero, so that
// no two parsers read it differently.
func parsePort(s string) (uint16, error) {
	if s == "" || s[0] == '0' || strings.Trim(s, "0123456789") != "" {
		return 0, fmt.Errorf("%w: the port is not a plain decimal number", ErrBadTarget)
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%w: the port is not within 1-65535", ErrBadTarget)
	}
	return uint16(n), nil
}

// parseHost parses a name, an IPv4 address or an IPv6 address in brackets.
func parseHost(s string) (Host, error) {
	if strings.HasPrefix(s, "[") {
		a, err := netip.ParseAddr(s[1 : len(s)-1])
		if err != nil || !a.Is6() || a.Zone() != "" {
			return Host{}, fmt.Errorf("%w: the brackets hold no IPv6 address", ErrBadTarget)
		}
		return AddrHost(a), nil
	}
	if s != "" && '0' <= s[len(s)-1] && s[len(s)-1] <= '9' {
		if a, err := netip.ParseAddr(s); err == nil && a.Is4() {
			return AddrHost(a), nil
		}
	}
	n, err := ParseName(s)
	if err != nil {
		return Host{}, fmt.Errorf("%w: %w", ErrBadTarget, err)
	}
	return NameHost(n), nil
}
