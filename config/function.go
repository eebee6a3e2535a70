package config

import (
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
)

// positions are the places of what identifies one function, in the order of its
// identity.Entry.
type positions struct {
	tokens, certificates, sources []value
}

// functions reads every function and checks that no two claim one caller.
func (r *reader) functions(v value) {
	r.callers = map[string]positions{}
	if r.members(v, r.function) && len(r.config.Functions) == 0 && len(v.node.Content) == 0 {
		r.fail(v, "there are none; write at least one function")
	}
	r.conflicts()
}

// function reads one function.
func (r *reader) function(name string, v value) {
	f := Function{Name: name, Line: v.line}
	r.validName(v, name, "a function")
	reports := false
	var until value
	found := r.object(v, []field{
		{"owner", func(v value) { f.Owner = r.text(v) }},
		{"mode", func(v value) { reports = r.word(v, "enforce", "report") == 1 }},
		{"report_until", func(v value) { until, f.ReportUntil = v, r.lastDay(v) }},
		{"identify", func(v value) { f.Identify = r.identify(name, v) }},
		{"allow", func(v value) { f.Allow = r.rules(v) }},
	})
	r.require(v, found, "write who it is by tokens, certificates or sources", "identify")
	r.require(v, found, "write a list, which may be []", "allow")
	switch {
	case reports && until.node == nil:
		r.fail(found["mode"], "report needs an end; write report_until and the last day of it")
	case !reports && until.node != nil:
		r.fail(until, "it is there without mode: report; write that or remove it")
		f.ReportUntil = time.Time{}
	}
	f.Identify.Function = name
	r.config.Functions = append(r.config.Functions, f)
}

// validName checks the name of a function or of a set.
func (r *reader) validName(v value, name, what string) bool {
	ok := identity.ValidFunction(name)
	if !ok {
		r.fail(v, "%s cannot be the name of %s; write 1 to 64 of A-Z a-z 0-9 - . _ ~", quote(name), what)
	}
	return ok
}

// identify reads what identifies a function.
func (r *reader) identify(name string, v value) (e identity.Entry) {
	var c positions
	before := len(r.problems)
	r.object(v, []field{
		{"tokens", func(v value) {
			r.list(v, func(item value) {
				if t, ok := r.token(item); ok {
					e.Tokens, c.tokens = append(e.Tokens, t), append(c.tokens, item)
				}
			})
		}},
		{"certificates", func(v value) {
			r.list(v, func(item value) {
				if s, ok := r.certificate(item); ok {
					e.Certificates, c.certificates = append(e.Certificates, s), append(c.certificates, item)
				}
			})
		}},
		{"sources", func(v value) {
			r.list(v, func(item value) {
				if p, ok := r.prefix(item); ok {
					e.Sources, c.sources = append(e.Sources, p), append(c.sources, item)
				}
			})
		}},
	})
	if len(r.problems) == before && len(c.tokens)+len(c.certificates)+len(c.sources) == 0 {
		r.fail(v, "nothing identifies the function; write tokens, certificates or sources")
	}
	if len(c.certificates) > 0 && !r.asksCertificates {
		r.fail(c.certificates[0], "no client certificate is asked for; write listen.tls with client_ca")
	}
	r.callers[name] = c
	return e
}

// token reads the hash of a token. What is wrong is not repeated: it may be
// the token itself.
func (r *reader) token(v value) (t identity.Token, ok bool) {
	const want = `"sha256:" and 64 hex digits, as "proxy token" prints it`
	s, ok := r.scalar(v, want)
	if !ok {
		return t, false
	}
	digest, found := strings.CutPrefix(s, "sha256:")
	n, err := hex.Decode(t[:], []byte(digest[:min(len(digest), 2*len(t))]))
	if !found || err != nil || n != len(t) || len(digest) != 2*len(t) {
		r.fail(v, "it is not the hash of a token; write %s", want)
		return t, false
	}
	return t, true
}

// certificate reads a name of a client certificate.
func (r *reader) certificate(v value) (string, bool) {
	s, ok := r.scalar(v, "a name of the certificate")
	if !ok {
		return "", false
	}
	odd := func(c rune) bool { return c <= ' ' || c > '~' || c == '*' }
	if s == "" || strings.ContainsFunc(s, odd) {
		r.fail(v, "%s is not a name of a certificate; write the whole DNS name, URI or common name", quote(s))
		return "", false
	}
	return s, true
}

// conflicts notes the callers that two functions claim.
func (r *reader) conflicts() {
	_, err := identity.New(r.config.entries())
	conflict := (*identity.ConflictError)(nil)
	if !errors.As(err, &conflict) {
		return
	}
	for _, c := range conflict.Conflicts {
		claimed := r.callers[c.Second]
		switch c.Method {
		case identity.MethodToken:
			r.fail(claimed.tokens[c.Index], "functions.%s has this token; write one of its own", c.First)
		case identity.MethodCertificate:
			r.fail(claimed.certificates[c.Index], "functions.%s has this certificate; write one of its own", c.First)
		case identity.MethodSource:
			r.fail(claimed.sources[c.Index], "functions.%s has this range; write a narrower one, or identify one of the two by a token", c.First)
		}
	}
}

// setNames returns the names of all sets, sorted.
func (r *reader) setNames() []string { return slices.Sorted(maps.Keys(r.sets)) }
