package squid

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/patterns"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// maxDepth bounds how deep files include each other, as Squid does.
const maxDepth = 16

// without are directives that have no say in what is allowed to whom.
const without = " access_log cache_access_log cache cache_dir cache_effective_group cache_effective_user cache_log cache_mem cache_mgr cache_replacement_policy cache_store_log cache_swap_high cache_swap_low" +
	" connect_timeout coredump_dir debug_options dns_nameservers dns_v4_first forwarded_for half_closed_clients hosts_file http_port https_port icon_directory logfile_rotate logformat max_filedescriptors" +
	" maximum_object_size maximum_object_size_in_memory memory_pools minimum_object_size negative_ttl netdb_filename pconn_timeout pid_filename pinger_enable positive_dns_ttl read_timeout refresh_pattern" +
	" request_timeout shutdown_lifetime strip_query_terms unique_hostname via visible_hostname workers "

// reader reads a configuration.
type reader struct {
	name     string // of the file
	options  Options
	open     func(path string) ([]byte, error)
	acls     map[string]*acl
	rules    []rule
	problems []yamlread.Problem
}

// fail notes a problem.
func (r *reader) fail(at yamlread.Position, key, format string, args ...any) {
	r.problems = append(r.problems, yamlread.Problem{Position: at, Key: key, Text: fmt.Sprintf(format, args...)})
}

// file reads a file of directives.
func (r *reader) file(name string, data []byte, depth int) {
	line, joined, first := 0, "", 0
	for text := range strings.Lines(string(data)) {
		line++
		if joined == "" {
			first = line
		}
		text = strings.TrimRight(text, "\r\n")
		if before, more := strings.CutSuffix(text, `\`); more {
			joined += before
			continue
		}
		if fields := strings.Fields(patterns.Uncomment(joined + text)); len(fields) > 0 {
			r.directive(yamlread.Position{File: name, Line: first}, fields, depth)
		}
		joined = ""
	}
	if joined != "" {
		r.fail(yamlread.Position{File: name, Line: first}, "file", "its last line goes on behind its end; take the backslash out")
	}
}

// directive reads one line.
func (r *reader) directive(at yamlread.Position, fields []string, depth int) {
	switch key := fields[0]; {
	case key == "acl":
		r.acl(at, fields[1:])
	case key == "http_access":
		r.access(at, fields[1:])
	case key == "include":
		r.include(at, fields[1:], depth)
	case !strings.Contains(without, " "+key+" "):
		r.fail(at, yamlread.Quote(key), "the directive is not known here, and may have a say in what is allowed; take it out, if it has none")
	}
}

// include reads other files in the place of the line.
func (r *reader) include(at yamlread.Position, names []string, depth int) {
	for _, name := range names {
		switch data, path, ok := r.named(at, "include", name); {
		case !ok:
		case depth == maxDepth:
			r.fail(at, "include", "files include each other %d deep; take one out", maxDepth)
		default:
			r.file(path, data, depth+1)
		}
	}
}

// named reads a file that a line names; a relative path begins at the folder of its file.
func (r *reader) named(at yamlread.Position, key, name string) (data []byte, path string, ok bool) {
	if strings.ContainsAny(name, "*?[") {
		r.fail(at, key, "%s is a pattern of files; name each", yamlread.Quote(name))
		return nil, "", false
	}
	if path = name; !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(at.File), path)
	}
	data, err := r.open(path)
	if err != nil {
		r.fail(at, key, "%s", yamlread.OneLine(err.Error()))
	}
	return data, path, err == nil
}

// acl reads the definition of a list, or more values of one.
func (r *reader) acl(at yamlread.Position, fields []string) {
	if len(fields) < 2 {
		r.fail(at, "acl", "it has no name or no type; write acl NAME TYPE VALUE")
		return
	}
	name, kind, values := fields[0], fields[1], fields[2:]
	key := "acl " + name
	a := r.acls[name]
	switch {
	case a == nil:
		a = &acl{at: at, name: name, kind: kind}
		r.acls[name] = a
	case a.kind != kind:
		r.fail(at, key, "it is there already, of another type; call one of the two by another name")
		return
	}
	for len(values) > 0 && strings.HasPrefix(values[0], "-") {
		if values[0] == "-n" && kind == "dstdomain" {
			a.noLookup = true
		} else {
			r.fail(at, key, "the flag %s is not known here; take it out", yamlread.Quote(values[0]))
		}
		values = values[1:]
	}
	for _, v := range values {
		if quoted, isFile := strings.CutPrefix(v, `"`); isFile {
			r.values(at, key, a, strings.TrimSuffix(quoted, `"`))
		} else {
			r.value(at, key, a, v)
		}
	}
}

// values reads a file with one value a line.
func (r *reader) values(at yamlread.Position, key string, a *acl, name string) {
	data, path, ok := r.named(at, key, name)
	line := 0
	for text := range strings.Lines(string(data)) {
		line++
		if text = patterns.Uncomment(text); ok && text != "" {
			r.value(yamlread.Position{File: path, Line: line}, key, a, text)
		}
	}
}

// value reads one value of a list. Those of types that are not known are not read: a rule that
// has the list is a problem.
func (r *reader) value(at yamlread.Position, key string, a *acl, v string) {
	wrong := ""
	switch a.kind {
	case "src":
		wrong = a.addSource(v)
	case "dstdomain":
		wrong = a.addName(v)
	case "port":
		wrong = a.addPort(v)
	case "method":
		a.methods = append(a.methods, v)
	}
	if wrong != "" {
		r.fail(at, key, "%s", wrong)
	}
}

// addSource adds an address or a range of them, or says what is wrong with it.
func (a *acl) addSource(v string) (wrong string) {
	if v == "all" {
		a.prefixes = append(a.prefixes, everywhere()...)
		return ""
	}
	p, err := netip.ParsePrefix(v)
	if addr, noPrefix := netip.ParseAddr(v); noPrefix == nil {
		p, err = addr.Prefix(addr.BitLen())
	}
	if err != nil || p.Masked() != p || p.Addr().Is4In6() || p.Addr().Zone() != "" {
		return yamlread.Quote(v) + " is no range of addresses; write one such as 10.0.1.0/24"
	}
	a.prefixes = append(a.prefixes, p)
	return ""
}

// addName adds a name, or a name and all below it, or says what is wrong with it.
func (a *acl) addName(v string) (wrong string) {
	if strings.HasPrefix(v, "*") {
		return yamlread.Quote(v) + " is a name with an asterisk to Squid, which fits nothing; write it with a dot alone, or take it out"
	}
	p, wrong := patterns.Parse(v)
	if wrong == "" {
		a.add(p)
	}
	return wrong
}

// addPort adds a port or a range of them, or says what is wrong with it.
func (a *acl) addPort(v string) (wrong string) {
	p, err := hostname.ParsePortRange(v)
	if one, noRange := parsePort(v); noRange == nil {
		p, err = one, nil
	}
	if err != nil {
		return yamlread.Quote(v) + " is neither a port nor a range of them; write 443 or 8000-8010"
	}
	a.ports = append(a.ports, p)
	return ""
}

// parsePort reads one port.
func parsePort(s string) (hostname.PortRange, error) { return hostname.ParsePortRange(s + "-" + s) }

// access reads a rule.
func (r *reader) access(at yamlread.Position, fields []string) {
	if len(fields) < 2 || fields[0] != "allow" && fields[0] != "deny" {
		r.fail(at, "http_access", "it is no rule; write allow or deny, and one list or more")
		return
	}
	u := rule{at: at, allow: fields[0] == "allow"}
	for _, w := range fields[1:] {
		name, not := strings.CutPrefix(w, "!")
		a := r.acls[name]
		if a == nil {
			r.fail(at, "http_access", "there is no list %s above it; write an acl of that name", yamlread.Quote(name))
			continue
		}
		u.all = append(u.all, literal{a, not})
	}
	r.rules = append(r.rules, u)
}

// check notes the rules with lists of which no policy says the same.
func (r *reader) check() {
	if len(r.rules) == 0 {
		r.fail(yamlread.Position{File: r.name, Line: 1}, "file", "it has no http_access; give the file that has them")
	}
	reported := map[*acl]bool{}
	for _, u := range r.rules {
		for _, l := range u.all {
			if wrong := r.wrong(u, l); wrong != "" && !reported[l.acl] {
				reported[l.acl] = true
				at, key := l.at, "acl "+l.name
				if at.Line == 0 || l.kind == "here" {
					at, key = u.at, "http_access"
				}
				r.fail(at, key, "%s", wrong)
			}
		}
	}
}

// denies reports whether the rule denies what the list has, and does nothing else.
func (u rule) denies(l literal) bool { return !u.allow && !l.not && len(u.all) == 1 }

// wrong says why no policy says the same as a list does in a rule, or "".
func (r *reader) wrong(u rule, l literal) string {
	switch l.kind {
	case "src", "port":
		return ""
	case "dstdomain":
		if !r.options.NamesOnly && !l.noLookup {
			return "without -n Squid also allows addresses whose reverse lookup has the name, which no policy says; write dstdomain -n, or give --names-only, which allows no address"
		}
		return ""
	case "method":
		if slices.ContainsFunc(l.methods, func(m string) bool { return m != "CONNECT" }) {
			return "a policy knows no methods; the list may have CONNECT alone"
		}
		return ""
	case "manager":
		if !r.options.ConnectOnly {
			return "manager is about paths of plain requests, which no policy knows; take the rule out, or give --connect-only"
		}
		return ""
	case "here":
		if !u.denies(l) {
			return l.name + " is known in a rule that denies it, and nothing else; write it so"
		}
		return ""
	default:
		return "no policy says what a list of the type " + yamlread.Quote(l.kind) + " does; write its names as dstdomain, or take the rules with it out"
	}
}
