package config

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

// maxFreeText bounds the owner and the ticket, which every record carries.
const maxFreeText = 256

// text reads free text.
func (r *reader) text(v value) string {
	s, ok := r.scalar(v, "text")
	if ok && (len(s) > maxFreeText || strings.ContainsAny(s, "\r\n\t")) {
		r.fail(v, "it is longer than %d bytes or than one line; write less", maxFreeText)
	}
	return s
}

// word reads one of the words and returns its index, 0 where it is none.
func (r *reader) word(v value, words ...string) int {
	s, ok := r.scalar(v, "one of "+strings.Join(words, ", "))
	if !ok {
		return 0
	}
	i := slices.Index(words, s)
	if i < 0 {
		r.fail(v, "%s is not known; %s", quote(s), suggest.For(s, words))
	}
	return max(i, 0)
}

// plainInt is a decimal number as people write it. YAML also knows 0x1F, 0o17
// and 1_000, which are read differently by different readers.
var plainInt = regexp.MustCompile(`^(0|-?[1-9][0-9]{0,17})$`)

// integer reads a whole number between least and most.
func (r *reader) integer(v value, least, most int) (int, bool) {
	s, ok := r.scalar(v, "a number")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	switch {
	case v.node.Tag != "!!int" || !plainInt.MatchString(s) || err != nil:
		r.fail(v, "%s is not a whole number; write one without quotes", quote(s))
	case n < least || n > most:
		r.fail(v, "%d is not within %d-%d; write a number that is", n, least, most)
	default:
		return n, true
	}
	return 0, false
}

// count reads a number above zero.
func (r *reader) count(v value, dst *int) {
	if n, ok := r.integer(v, 1, math.MaxInt32); ok {
		*dst = n
	}
}

// boolean reads true or false.
func (r *reader) boolean(v value) bool {
	s, ok := r.scalar(v, "true or false")
	if ok && (v.node.Tag != "!!bool" || s != "true" && s != "false") {
		r.fail(v, "%s is neither true nor false; write one of them", quote(s))
	}
	return s == "true"
}

// duration reads a Go duration above zero.
func (r *reader) duration(v value, dst *time.Duration) {
	s, ok := r.scalar(v, "a duration such as 30s")
	if !ok {
		return
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		r.fail(v, "%s is not a duration; write a number and a unit, such as 30s, 5m or 12h", quote(s))
	case d <= 0:
		r.fail(v, "%s is not above zero; write a duration such as 30s (there is no unlimited)", s)
	default:
		*dst = d
	}
}

// sizeForm is a number of bytes with its unit.
var sizeForm = regexp.MustCompile(`^(0|[1-9][0-9]{0,9}) ?(B|KB|MB|KiB|MiB)?$`)

// size reads a number of bytes above zero and at most 1 GiB.
func (r *reader) size(v value, dst *int) {
	s, ok := r.scalar(v, "a size such as 16KiB")
	if !ok {
		return
	}
	m := sizeForm.FindStringSubmatch(s)
	if m == nil {
		r.fail(v, "%s is not a size; write a number of bytes, or one with KiB, MiB, KB or MB", quote(s))
		return
	}
	n, _ := strconv.Atoi(m[1]) // ten digits by the form
	n *= map[string]int{"": 1, "B": 1, "KB": 1000, "MB": 1000 * 1000, "KiB": 1 << 10, "MiB": 1 << 20}[m[2]]
	if n <= 0 || n > 1<<30 {
		r.fail(v, "%s is not within 1 byte and 1024MiB; write a size that is, such as 16KiB", quote(s))
		return
	}
	*dst = n
}

// lastDay reads the last day, in UTC, on which something holds, and returns
// the first instant at which it no longer does.
func (r *reader) lastDay(v value) time.Time {
	s, ok := r.scalar(v, "a date such as 2027-01-31")
	if !ok {
		return time.Time{}
	}
	day, err := time.Parse(time.DateOnly, s)
	if err != nil || day.Year() == 0 {
		r.fail(v, "%s is not a day; write one as 2027-01-31", quote(s))
		return time.Time{}
	}
	return day.AddDate(0, 0, 1)
}

// addrPort reads an address and a port to listen on. Port 0 lets the kernel
// pick one.
func (r *reader) addrPort(v value) (netip.AddrPort, bool) {
	s, ok := r.scalar(v, "an address and a port such as 127.0.0.1:3128")
	if !ok {
		return netip.AddrPort{}, false
	}
	if a, err := netip.ParseAddrPort(s); err == nil {
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), true
	}
	host, port, found := strings.Cut(s, ":")
	switch _, err := netip.ParseAddr(s); {
	case err == nil:
		r.fail(v, "%s has no port; write an address and a port such as 127.0.0.1:3128", quote(s))
	case found && host == "" && digits(port):
		r.fail(v, `%s has no address; write "0.0.0.0:%s" for every address of the machine`, quote(s), port)
	case digits(s):
		r.fail(v, `%s has no address; write "127.0.0.1:%s" or "0.0.0.0:%s"`, quote(s), s, s)
	case found && host != "" && digits(port) && strings.Trim(host, "0123456789.") != "":
		r.fail(v, "%s has a hostname, which is not looked up; write an address such as 127.0.0.1:%s", quote(s), port)
	default:
		r.fail(v, "%s is not an address and a port; write one such as 127.0.0.1:3128", quote(s))
	}
	return netip.AddrPort{}, false
}

// digits reports whether s could be a port.
func digits(s string) bool {
	return s != "" && len(s) <= 5 && strings.Trim(s, "0123456789") == ""
}

// prefix reads one range of addresses.
func (r *reader) prefix(v value) (netip.Prefix, bool) {
	s, ok := r.scalar(v, "a range such as 10.0.0.0/8")
	if !ok {
		return netip.Prefix{}, false
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
			r.fail(v, "%s is an address, not a range; write %s", quote(s), netip.PrefixFrom(a, a.BitLen()))
		} else {
			r.fail(v, "%s is not a range of addresses; write one such as 10.0.0.0/8", quote(s))
		}
		return netip.Prefix{}, false
	}
	switch {
	case p.Addr().Is4In6() && p.Bits() >= 96:
		v4 := netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		r.fail(v, "%s is an IPv4 range in IPv6 clothes; write %s", quote(s), v4.Masked())
	case p != p.Masked():
		r.fail(v, "%s has bits behind the prefix; write %s", quote(s), p.Masked())
	default:
		return p, true
	}
	return netip.Prefix{}, false
}

// prefixes reads a list of ranges.
func (r *reader) prefixes(v value) (all []netip.Prefix) {
	r.list(v, func(item value) {
		if p, ok := r.prefix(item); ok {
			all = append(all, p)
		}
	})
	return all
}
