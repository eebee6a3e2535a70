// Package hop writes the heads of forwarded messages anew: what goes on is what came, line
// by line, in its order, spelling and values, but for what is of one hop (RFC 9110,
// section 7.6.1).
//
// What it does: it takes the fields out that end at the proxy, those that Connection names
// included, puts Via in, and sets Host from the target. It is pure: heads in, bytes out.
//
// What it does not do: it frames no answer anew and says nothing of its connection; that
// stands behind what it appends, and so does the empty line.
//
//	options := hop.Read(httphead.Fields(head.Raw))
//	b = hop.AppendRequest(b, hop.Request{Head: head, Options: &options, Path: path, Authority: authority})
package hop

import (
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
)

// protected fields survive being named in Connection: a message that names them would
// mean something else behind the proxy.
var protected = []string{"Authorization", "Content-Length", "Content-Type", "Cookie", "Host", "Transfer-Encoding", "Via"}

// hopByHop are the fields that end here whether or not Connection names them (RFC 9110,
// section 7.6.1).
var hopByHop = []string{"Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "HTTP2-Settings"}

// Options is what of one message belongs to one hop, and what else a request's fields say
// about the connection that it goes on.
type Options struct {
	Upgrade       string // values of Upgrade, a list
	Authenticates bool   // its credentials are for the connection (RFC 4559, section 6)

	lists [4]string // values of Connection; more of them are joined
	n     int
}

// Read looks through the fields of a head.
func Read(lines string) (o Options) {
	for {
		f, rest, ok := httphead.NextField(lines)
		if !ok {
			return o
		}
		lines = rest
		switch {
		case f.Is("Connection"):
			o.add(f.Value)
		case f.Is("Upgrade"):
			if o.Upgrade != "" {
				o.Upgrade += ", "
			}
			o.Upgrade += f.Value
		case f.Is("Authorization"):
			o.Authenticates = o.Authenticates || authenticatesConnection(f.Value)
		}
	}
}

// authenticatesConnection reports whether credentials are for the connection that they
// are sent on.
func authenticatesConnection(authorization string) bool {
	scheme, _, _ := strings.Cut(authorization, " ")
	return strings.EqualFold(scheme, "NTLM") || strings.EqualFold(scheme, "Negotiate")
}

// add takes a value of Connection.
func (o *Options) add(value string) {
	if o.n == len(o.lists) {
		o.lists[o.n-1] += "," + value
		return
	}
	o.lists[o.n] = value
	o.n++
}

// Names reports whether Connection has the option.
func (o *Options) Names(option string) bool {
	for _, list := range o.lists[:o.n] {
		if httphead.HasOption(list, option) {
			return true
		}
	}
	return false
}

// ends reports whether a field ends at the proxy.
func (o *Options) ends(f *httphead.Field) bool {
	switch len(f.Name) {
	case len("TE"), len("Trailer"), len("Connection"), len("HTTP2-Settings"), len("Transfer-Encoding"):
		if slices.ContainsFunc(hopByHop, f.Is) {
			return true
		}
	}
	if f.Name[0]|0x20 == 'p' && hasPrefixFold(f.Name, "Proxy-") {
		return true
	}
	return o.Names(f.Name) && !slices.ContainsFunc(protected, f.Is)
}

// hasPrefixFold is strings.HasPrefix in whatever case.
func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// AppendField appends a field line.
func AppendField(b []byte, name, value string) []byte {
	b = append(append(b, name...), ": "...)
	return append(append(b, value...), "\r\n"...)
}

// Request is the head of a request, and where it goes.
type Request struct {
	Head      *httphead.Head
	Options   *Options
	Path      string // the target in origin-form
	Authority string // the target's, as Host has it
	Port80    bool   // its port is the scheme's
	Upgrade   bool   // Upgrade goes on; the caller appends the option to Connection
	Via       string // the proxy's own entry
}

// AppendRequest appends request line and fields, but for the empty line, in HTTP/1.1.
func AppendRequest(b []byte, r Request) []byte {
	b = append(append(append(b, r.Head.Method...), ' '), r.Path...)
	b = append(b, " HTTP/1.1\r\n"...)
	if len(r.Head.Hosts) == 0 {
		b = AppendField(b, "Host", r.Authority)
	}
	for lines := httphead.Fields(r.Head.Raw); ; {
		f, rest, ok := httphead.NextField(lines)
		if !ok {
			return AppendField(b, "Via", r.Via)
		}
		lines = rest
		b = r.appendField(b, &f)
	}
}

// appendField appends a field of the request as it goes on, if it does.
func (r *Request) appendField(b []byte, f *httphead.Field) []byte {
	switch {
	case f.Is("Host") && !r.namesTarget(f.Value):
		return AppendField(b, f.Name, r.Authority)
	case f.Is("Host"), f.Is("Content-Length"): // the white space of what routes and frames stays here
		return AppendField(b, f.Name, f.Value)
	case f.Is("Transfer-Encoding"):
		return AppendField(b, f.Name, "chunked")
	case f.Is("Expect") && r.Head.Minor == 0: // it means nothing there (RFC 9110, section 10.1.1)
		return b
	case r.Upgrade && f.Is("Upgrade"):
		return AppendField(b, f.Name, f.Value)
	case r.Options.ends(f):
		return b
	}
	return append(append(b, f.Line...), "\r\n"...)
}

// namesTarget reports whether a value of Host is that of the target, whose port may stand
// there or not where it is the scheme's.
func (r *Request) namesTarget(host string) bool {
	return strings.EqualFold(host, r.Authority) || r.Port80 && strings.EqualFold(strings.TrimSuffix(host, ":80"), r.Authority)
}

// AppendAnswer appends status line and fields of an answer, but for the empty line. coded
// says whether its Transfer-Encoding goes on; via is the proxy's own entry.
func AppendAnswer(b []byte, a *httphead.Answer, coded bool, via string) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = append(b, byte('0'+a.Status/100), byte('0'+a.Status/10%10), byte('0'+a.Status%10), ' ')
	b = append(append(b, a.Phrase...), "\r\n"...)
	lines := httphead.Fields(a.Raw)
	options := Read(lines)
	measured := a.Status < 200 || a.Status == 204 // none has a length (RFC 9110, section 8.6)
	for {
		f, rest, ok := httphead.NextField(lines)
		if !ok {
			break
		}
		lines = rest
		switch {
		case f.Is("Content-Length"):
			if measured {
				continue
			}
			measured = true
			b = AppendField(b, f.Name, f.Value)
		case coded && f.Is("Transfer-Encoding"):
			b = AppendField(b, f.Name, "chunked")
		case coded && f.Is("Trailer"):
			b = append(append(b, f.Line...), "\r\n"...)
		case options.ends(&f), hasPrefixFold(f.Name, "X-Egress-"): // ours alone: they tell a refusal from an answer
		default:
			b = append(append(b, f.Line...), "\r\n"...)
		}
	}
	return AppendField(b, "Via", via)
}

// PassesTrailer reports whether a trailer field of an answer goes on: none that frames,
// routes or authenticates does (RFC 9110, section 6.5.1), and none that is of one hop.
func PassesTrailer(f httphead.Field) bool {
	var none Options
	return !none.ends(&f) && !slices.ContainsFunc(protected, f.Is) && !f.Is("Set-Cookie") && !hasPrefixFold(f.Name, "X-Egress-")
}
