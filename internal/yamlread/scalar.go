package yamlread

import (
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/suggest"
)

// Text reads free text of one line and at most that many bytes.
func (r *Reader) Text(n Node, most int) string {
	s, ok := r.Scalar(n, "text")
	if ok && (len(s) > most || strings.ContainsAny(s, "\r\n\t")) {
		r.Fail(n, "it is longer than %d bytes or than one line; write less", most)
	}
	return s
}

// Word reads one of the choices and returns its index, 0 where it is none.
func (r *Reader) Word(n Node, choices ...string) int {
	s, ok := r.Scalar(n, "one of "+strings.Join(choices, ", "))
	if !ok {
		return 0
	}
	i := slices.Index(choices, s)
	if i < 0 {
		r.Fail(n, "%s is not known; %s", Quote(s), suggest.For(s, choices))
	}
	return max(i, 0)
}

// plainInt is a decimal number as people write it. YAML also knows 0x1F, 0o17
// and 1_000, which are read differently by different readers.
var plainInt = regexp.MustCompile(`^(0|-?[1-9][0-9]{0,17})$`)

// Integer reads a whole number between least and most.
func (r *Reader) Integer(n Node, least, most int) (int, bool) {
	s, ok := r.Scalar(n, "a number")
	if !ok {
		return 0, false
	}
	i, err := strconv.Atoi(s)
	switch {
	case n.yaml.Tag != "!!int" || !plainInt.MatchString(s) || err != nil:
		r.Fail(n, "%s is not a whole number; write one without quotes", Quote(s))
	case i < least || i > most:
		r.Fail(n, "%d is not within %d-%d; write a number that is", i, least, most)
	default:
		return i, true
	}
	return 0, false
}

// Count reads a number above zero.
func (r *Reader) Count(n Node, dst *int) {
	if i, ok := r.Integer(n, 1, math.MaxInt32); ok {
		*dst = i
	}
}

// Boolean reads true or false.
func (r *Reader) Boolean(n Node) bool {
	s, ok := r.Scalar(n, "true or false")
	if ok && (n.yaml.Tag != "!!bool" || s != "true" && s != "false") {
		r.Fail(n, "%s is neither true nor false; write one of them", Quote(s))
	}
	return s == "true"
}

// Duration reads a Go duration above zero.
func (r *Reader) Duration(n Node, dst *time.Duration) {
	s, ok := r.Scalar(n, "a duration such as 30s")
	if !ok {
		return
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil || len(s) > maxQuoted: // "000…0s" is one for the parser
		r.Fail(n, "%s is not a duration; write a number and a unit, such as 30s, 5m or 12h", Quote(s))
	case d <= 0:
		r.Fail(n, "%s is not above zero; write a duration such as 30s (there is no unlimited)", s)
	default:
		*dst = d
	}
}

// sizeForm is a number of bytes with its unit.
var sizeForm = regexp.MustCompile(`^(0|[1-9][0-9]{0,9}) ?(B|KB|MB|KiB|MiB)?$`)

// Size reads a number of bytes above zero and at most 1 GiB.
func (r *Reader) Size(n Node, dst *int) {
	s, ok := r.Scalar(n, "a size such as 16KiB")
	if !ok {
		return
	}
	m := sizeForm.FindStringSubmatch(s)
	if m == nil {
		r.Fail(n, "%s is not a size; write a number of bytes, or one with KiB, MiB, KB or MB", Quote(s))
		return
	}
	bytes, _ := strconv.Atoi(m[1]) // ten digits by the form
	bytes *= map[string]int{"": 1, "B": 1, "KB": 1000, "MB": 1000 * 1000, "KiB": 1 << 10, "MiB": 1 << 20}[m[2]]
	if bytes <= 0 || bytes > 1<<30 {
		r.Fail(n, "%s is not within 1 byte and 1024MiB; write a size that is, such as 16KiB", Quote(s))
		return
	}
	*dst = bytes
}

// LastDay reads the last day, in UTC, on which something holds, and returns
// the first instant at which it no longer does.
func (r *Reader) LastDay(n Node) time.Time {
	s, ok := r.Scalar(n, "a date such as 2027-01-31")
	if !ok {
		return time.Time{}
	}
	day, err := time.Parse(time.DateOnly, s)
	if err != nil || day.Year() == 0 {
		r.Fail(n, "%s is not a day; write one as 2027-01-31", Quote(s))
		return time.Time{}
	}
	return day.AddDate(0, 0, 1)
}

// AddrPort reads an address and a port to listen on. Port 0 lets the kernel
// pick one.
func (r *Reader) AddrPort(n Node) (netip.AddrPort, bool) {
	s, ok := r.Scalar(n, "an address and a port such as 127.0.0.1:3128")
	if !ok {
		return netip.AddrPort{}, false
	}
	if a, err := netip.ParseAddrPort(s); err == nil {
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), true
	}
	host, port, found := strings.Cut(s, ":")
	switch _, err := netip.ParseAddr(s); {
	case err == nil:
		r.Fail(n, "%s has no port; write an address and a port such as 127.0.0.1:3128", Quote(s))
	case found && host == "" && LooksLikePort(port):
		r.Fail(n, `%s has no address; write "0.0.0.0:%s" for every address of the machine`, Quote(s), port)
	case LooksLikePort(s):
		r.Fail(n, `%s has no address; write "127.0.0.1:%s" or "0.0.0.0:%s"`, Quote(s), s, s)
	case found && host != "" && LooksLikePort(port) && strings.Trim(host, "0123456789.") != "":
		r.Fail(n, "%s has a hostname, which is not looked up; write an address such as 127.0.0.1:%s", Quote(s), port)
	default:
		r.Fail(n, "%s is not an address and a port; write one such as 127.0.0.1:3128", Quote(s))
	}
	return netip.AddrPort{}, false
}

// LooksLikePort reports whether s has the digits of a port.
func LooksLikePort(s string) bool {
	return s != "" && len(s) <= 5 && strings.Trim(s, "0123456789") == ""
}

// Prefix reads one range of addresses.
func (r *Reader) Prefix(n Node) (netip.Prefix, bool) {
	s, ok := r.Scalar(n, "a range such as 10.0.0.0/8")
	if !ok {
		return netip.Prefix{}, false
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
			r.Fail(n, "%s is an address, not a range; write %s", Quote(s), netip.PrefixFrom(a, a.BitLen()))
		} else {
			r.Fail(n, "%s is not a range of addresses; write one such as 10.0.0.0/8", Quote(s))
		}
		return netip.Prefix{}, false
	}
	switch {
	case p.Addr().Is4In6() && p.Bits() >= 96:
		v4 := netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		r.Fail(n, "%s is an IPv4 range written as IPv6; write %s", Quote(s), v4.Masked())
	case p != p.Masked():
		r.Fail(n, "%s has bits behind the prefix; write %s", Quote(s), p.Masked())
	default:
		return p, true
	}
	return netip.Prefix{}, false
}

// Prefixes reads a list of ranges.
func (r *Reader) Prefixes(n Node) (all []netip.Prefix) {
	r.List(n, func(item Node) {
		if p, ok := r.Prefix(item); ok {
			all = append(all, p)
		}
	})
	return all
}
