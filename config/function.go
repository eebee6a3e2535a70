package config

import (
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/aws"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// maxFreeText bounds the owner and the ticket, which every record carries.
const maxFreeText = 256

// positions are the places of what identifies one function, by method, in the order of
// its identity.Entry.
type positions map[identity.Method][]yamlread.Node

// functions reads every function of one file.
func (r *reader) functions(n yamlread.Node) {
	if r.Members(n, r.function) && n.Len() == 0 {
		r.Fail(n, "there are none; write at least one function")
	}
}

// function reads one function.
func (r *reader) function(name string, n yamlread.Node) {
	f := Function{Name: name, Line: n.Line()}
	r.validName(n, name, "a function")
	if !r.once(n, name) {
		return // its caller would be claimed twice too
	}
	reports := false
	var until yamlread.Node
	found := r.Object(n,
		yamlread.Key("owner", func(n yamlread.Node) { f.Owner = r.Text(n, maxFreeText) }),
		yamlread.Key("mode", func(n yamlread.Node) { reports = r.Word(n, "enforce", "report") == 1 }),
		yamlread.Key("report_until", func(n yamlread.Node) { until, f.ReportUntil = n, r.LastDay(n) }),
		yamlread.Key("identify", func(n yamlread.Node) { f.Identify = r.identify(name, n) }),
		yamlread.Key("allow", func(n yamlread.Node) { f.Allow = r.rules(n) }),
	)
	r.Require(n, found, "write who it is by tokens, certificates, aws or sources", "identify")
	r.Require(n, found, "write a list, which may be []", "allow")
	switch {
	case reports && until.IsZero():
		r.Fail(found["mode"], "report needs an end; write report_until and the last day of it")
	case !reports && !until.IsZero():
		r.Fail(until, "it is there without mode: report; write that or remove it")
		f.ReportUntil = time.Time{}
	}
	r.ofInclude(&f, found)
	f.Identify.Function = name
	r.config.Functions = append(r.config.Functions, f)
}

// validName checks the name of a function or of a set.
func (r *reader) validName(n yamlread.Node, name, what string) bool {
	ok := identity.ValidFunction(name)
	if !ok {
		r.Fail(n, "%s cannot be the name of %s; write 1 to 64 of A-Z a-z 0-9 - . _ ~", yamlread.Quote(name), what)
	}
	return ok
}

// identify reads what identifies a function.
func (r *reader) identify(name string, n yamlread.Node) (e identity.Entry) {
	c := positions{}
	before := r.Problems()
	list := func(m identity.Method, read func(yamlread.Node) bool) yamlread.Field {
		return yamlread.Key(m.Key(), func(n yamlread.Node) {
			r.List(n, func(item yamlread.Node) {
				if read(item) {
					c[m] = append(c[m], item)
				}
			})
		})
	}
	r.Object(n,
		list(identity.MethodToken, func(n yamlread.Node) bool { return appendIf(&e.Tokens)(r.token(n)) }),
		list(identity.MethodCertificate, func(n yamlread.Node) bool { return appendIf(&e.Certificates)(r.certificate(n)) }),
		list(identity.MethodAWS, func(n yamlread.Node) bool { return appendIf(&e.AWS)(aws.Principal(r.Reader, n, r.config.AWS)) }),
		list(identity.MethodSource, func(n yamlread.Node) bool { return appendIf(&e.Sources)(r.Prefix(n)) }),
	)
	if r.Problems() == before && len(c) == 0 {
		r.Fail(n, "nothing identifies the function; write tokens, certificates, aws or sources")
	}
	if all := c[identity.MethodCertificate]; len(all) > 0 && !r.asksCertificates {
		r.Fail(all[0], "no client certificate is asked for; write listen.tls with client_ca")
	}
	r.callers[name] = c
	return e
}

// appendIf returns a func that appends what was read to the list, unless it is wrong.
func appendIf[T any](list *[]T) func(T, bool) bool {
	return func(item T, ok bool) bool {
		if ok {
			*list = append(*list, item)
		}
		return ok
	}
}

// token reads the hash of a token. What is wrong is not repeated: it may be
// the token itself.
func (r *reader) token(n yamlread.Node) (t identity.Token, ok bool) {
	const want = `"sha256:" and 64 hex digits, as "proxy token" prints it`
	s, ok := r.Scalar(n, want)
	if !ok {
		return t, false
	}
	digest, found := strings.CutPrefix(s, "sha256:")
	_, err := hex.Decode(t[:], []byte(digest[:min(len(digest), 2*len(t))]))
	if !found || err != nil || len(digest) != 2*len(t) {
		r.Fail(n, "it is not the hash of a token; write %s", want)
		return t, false
	}
	return t, true
}

// certificate reads a name of a client certificate.
func (r *reader) certificate(n yamlread.Node) (string, bool) {
	s, ok := r.Scalar(n, "a name of the certificate")
	if !ok {
		return "", false
	}
	odd := func(c rune) bool { return c <= ' ' || c > '~' || c == '*' }
	if s == "" || strings.ContainsFunc(s, odd) {
		r.Fail(n, "%s is not a name of a certificate; write the whole DNS name, URI or common name", yamlread.Quote(s))
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
		place := r.callers[c.Second][c.Method][c.Index] // no name is there twice: the mapping has seen to it
		switch c.Method {
		case identity.MethodSource:
			r.Fail(place, "functions.%s has this range; write a narrower one, or identify one of the two by a token", c.First)
		case identity.MethodAWS:
			r.Fail(place, "functions.%s has this ARN; write one of its own", c.First)
		default:
			r.Fail(place, "functions.%s has this %s; write one of its own", c.First, c.Method)
		}
	}
}

// setNames returns the names of the sets that the rules of a file may name, sorted.
func (r *reader) setNames() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(r.sets)), func(name string) bool { return r.visible(name) == nil })
}
