package httphead

import (
	"errors"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// ErrPath is a path or query with a byte that a URL does not have (RFC 3986, section
// 2.1): it has to be percent-encoded, and one reader takes it for another than the next.
var ErrPath = errors.New("the path has a byte that must be percent-encoded")

// ErrExpectation is an Expect other than 100-continue (RFC 9110, section 10.1.1): 417.
var ErrExpectation = errors.New("expectation is not 100-continue")

// ParseAbsolute parses an absolute-form target (RFC 9112, section 3.2.2) and
// returns what follows the authority, as it was written. Of an https target the host
// is returned too, for the record; its path is not looked at. The reason is
// verdict.ReasonNone for an http target that holds. The error is ErrPath, where that is
// what is wrong with a target whose host holds; else nil.
func ParseAbsolute(s string) (t hostname.Target, rest string, reason verdict.Reason, err error) {
	if s[0] == '/' && !strings.HasPrefix(s, "//") || s == "*" {
		return t, "", verdict.ReasonBadRequest, nil // a request for an origin server
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme == "" || !allBytes(scheme, isScheme) {
		return t, "", verdict.ReasonBadTarget, nil
	}
	authority, rest := rest, ""
	if i := strings.IndexAny(authority, "/?#"); i >= 0 {
		authority, rest = authority[:i], authority[i:]
	}
	switch strings.ToLower(scheme) {
	case "http":
	case "https":
		t, _ = hostname.ParseAuthority(authority, 443)
		return t, "", verdict.ReasonHTTPSNotTunneled, nil
	default:
		return t, "", verdict.ReasonSchemeNotSupported, nil
	}
	if t, err = hostname.ParseAuthority(authority, 80); err != nil {
		return hostname.Target{}, "", verdict.ReasonBadTarget, nil
	}
	if !allBytes(rest, isTargetByte) {
		return t, "", verdict.ReasonBadTarget, ErrPath
	}
	return t, rest, verdict.ReasonNone, nil
}

// isScheme reports whether c may stand in a URI scheme (RFC 3986, section 3.1).
func isScheme(c byte) bool { return isToken(c) && strings.IndexByte("!#$%&'*^_`|~", c) < 0 }

// isTargetByte reports whether c may stand in path and query: visible ASCII but
// for the fragment's mark and the backslash that some parsers take for a slash.
func isTargetByte(c byte) bool { return c > 0x20 && c < 0x7f && c != '#' && c != '\\' }

// CheckForward checks the fields of a request that is forwarded which the head's own
// grammar does not: one Host that is an authority, unless the client speaks HTTP/1.0,
// and no expectation but 100-continue. The errors are ErrMalformed and ErrExpectation.
func (h *Head) CheckForward() error {
	if len(h.Hosts) > 1 || len(h.Hosts) == 0 && h.Minor == 1 {
		return ErrMalformed
	}
	if len(h.Hosts) == 1 {
		if _, err := hostname.ParseAuthority(h.Hosts[0], 80); err != nil {
			return ErrMalformed
		}
	}
	for _, e := range h.Expect {
		if !strings.EqualFold(e, "100-continue") {
			return ErrExpectation
		}
	}
	if len(h.Codings) > 0 {
		return h.checkTrailer()
	}
	return nil
}

// checkTrailer refuses a list of trailer fields that has one which frames the message
// (RFC 9110, section 6.5.1).
func (h *Head) checkTrailer() error {
	for lines := Fields(h.Raw); ; {
		f, rest, ok := NextField(lines)
		if !ok {
			return nil
		}
		if lines = rest; f.Is("Trailer") && (HasOption(f.Value, "Content-Length") || HasOption(f.Value, "Transfer-Encoding") || HasOption(f.Value, "Trailer")) {
			return ErrMalformed
		}
	}
}

// PassedBy reports whether Via names the proxy as one of the hops before this one
// (RFC 9110, section 7.6.3).
func (h *Head) PassedBy(pseudonym string) bool {
	for _, v := range h.Via {
		for hop := range strings.SplitSeq(v, ",") {
			if f := strings.Fields(hop); len(f) > 1 && strings.EqualFold(f[1], pseudonym) {
				return true
			}
		}
	}
	return false
}

// CheckField checks one field line, of a trailer section for example, by the grammar of
// a head's. The error is ErrMalformed.
func CheckField(line string) error { return new(Head).field(line) }

// Word returns a method as records may show it: what does not look like one may be
// anything, a secret included, and is "".
func (h *Head) Word() string {
	if len(h.Method) > 16 || !allBytes(h.Method, func(c byte) bool { return 'A' <= c && c <= 'Z' }) {
		return ""
	}
	return h.Method
}
