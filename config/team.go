package config

import (
	"fmt"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/include"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/patterns"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// maxIncluded bounds what included files hold together, in bytes.
const maxIncluded = 256 << 20

// includes reads the files that others write, each with what it may do. Their sets are seen
// by their own rules alone, those of the configuration by all.
func (r *reader) includes(n yamlread.Node) {
	size := 0
	for _, i := range include.Read(r.Reader, n, r.snapshot) {
		root, data, ok := i.Open(r.Reader)
		if size += len(data); size > maxIncluded {
			r.Fail(n, "the files have more than %d MiB together; move long lists to files of sets", maxIncluded>>20)
			return
		}
		if !ok {
			continue
		}
		_, _ = fmt.Fprintf(r.hash, "\x00include %q %d\x00", i.File, len(data)) // a hash never fails
		for chunk := range patterns.Chunks(data) {
			_, _ = r.hash.Write(chunk)
		}
		r.from = i
		found := r.Object(root, yamlread.Key("sets", r.readSets), yamlread.Key("functions", r.functions),
			yamlread.Key("tests", func(n yamlread.Node) { r.tests.Read(r.Reader, n, i.File) }))
		r.Require(root, found, "write at least one function", "functions")
		r.from = nil
	}
}

// fileName returns the included file that is being read, "" where it is the configuration.
func (r *reader) fileName() string {
	if r.from == nil {
		return ""
	}
	return r.from.File
}

// once notes a function that another file has defined.
func (r *reader) once(n yamlread.Node, name string) bool {
	at, again := r.defined[name]
	if again {
		r.Fail(n, "%s:%d has a function of this name; write another one", at.File, at.Line)
		return false
	}
	r.defined[name] = n.Position()
	return true
}

// ofInclude stamps a function of an included file, and notes what the file may not say of it.
func (r *reader) ofInclude(f *Function, found map[string]yamlread.Node) {
	from := r.from
	if from == nil {
		return
	}
	f.File = r.fileName()
	if at := r.defined[f.Name]; !from.Defines(f.Name) {
		r.FailAt(at, "functions."+f.Name, "%s lets this file define %s alone; write such a name, or have this one allowed there", from, from.Names())
	}
	if owner, own := found["owner"]; own && from.Owner != "" {
		r.Fail(owner, "%s says whose it is, %s; leave it out", from, yamlread.Quote(from.Owner))
	} else if from.Owner != "" {
		f.Owner = from.Owner
	}
	if mode := found["mode"]; !mode.IsZero() && !f.ReportUntil.IsZero() && !from.MayReport() {
		r.Fail(mode, "%s", from.Withholds("report", "leave it out"))
	}
}

// checkMay notes what a rule opens that its file may not.
func (r *reader) checkMay(item yamlread.Node, d *ruleBuilder) {
	if r.from == nil {
		return
	}
	opened := include.Opens{
		Ports:        d.conditions.Ports,
		Wildcards:    d.spec.Pattern.Wildcard() || d.set != nil && d.set.wild && d.set.from == nil,
		SharedSuffix: d.wide,
		Addresses:    !d.addresses.IsZero(),
		CIDR:         d.spec.Prefix.IsValid(),
		TLSAny:       d.conditions.TLS == policy.TLSAny,
	}
	r.from.Withheld(&opened, func(key, cure string) {
		at := item
		for _, name := range include.KeysOf[key] {
			if n, ok := d.keys[name]; ok {
				at = n
				break
			}
		}
		r.Fail(at, "%s", r.from.Withholds(key, cure))
	})
}

// visible returns the set of that name that rules of the file may name, nil for none: one of
// the file, or of the configuration itself.
func (r *reader) visible(name string) *set {
	if s := r.sets[name]; s != nil && (s.from == nil || s.from == r.from) {
		return s
	}
	return nil
}

// listFile reads the file of a set. That of an included file lies below its folder.
func (r *reader) listFile(n yamlread.Node) (data []byte, path string, ok bool) {
	if r.from != nil {
		name, ok := r.Scalar(n, "the path of a file")
		if !ok || !include.Local(r.Reader, n, name) {
			return nil, "", false
		}
	}
	data, path, ok = r.File(n, maxList)
	if ok && r.from != nil {
		ok = r.from.Encloses(r.Reader, n, path)
	}
	return data, path, ok
}
