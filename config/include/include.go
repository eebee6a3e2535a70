// Package include reads of which other files a policy is made, and what each of them may
// do.
//
// What it does: it reads the list under include and the files that it names, each of which
// lies below the folder of the policy, and says which functions a file may define and what
// of a rule its entry withholds. The zero May withholds everything.
//
// What it does not do: it reads no function and no rule; package config does.
//
//	all := include.Read(reader, node)
//	root, data, ok := all[0].Open(reader)
//	if !all[0].Defines("billing-webhook") { … }
//	all[0].Withheld(opened, func(key, text string) { … })
package include

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/localfile"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

const (
	// maxFiles is how many files a policy may include: each is looked at every second.
	maxFiles = 1000
	// maxFile is how large each may be, in bytes.
	maxFile = 64 << 20
	// maxText bounds a path and an owner, which records carry.
	maxText = 256
	// maxGlob bounds a pattern of names, which have 64 bytes.
	maxGlob = 64
)

// hints are what would be right in an included file that is wrong as a whole.
var hints = yamlread.Hints{Empty: "write functions", Anchors: "write shared lists under sets"}

// Include is one entry of the list: a file, and what it may do. The zero Include is no file
// and may do nothing.
type Include struct {
	File  string // as the policy has it: relative, with slashes, below the folder of the policy
	Owner string // of each function of the file; "": functions say it themselves

	may   May
	globs []string // names of functions that the file may define
	file  yamlread.Node
	at    yamlread.Position
}

// May is what the rules of a file may have. The zero May allows no rule: none is without a
// port.
type May struct {
	Ports        []hostname.PortRange // the ports, of which each rule has some; none: no rule
	Wildcards    bool                 // "*." and ".", in rules and in sets
	SharedSuffix bool                 // shared_suffix: true
	Addresses    bool                 // addresses
	CIDR         bool                 // cidr
	TLSAny       bool                 // tls: any
	Report       bool                 // mode: report
	PlainHTTP    bool                 // port 80, to which plain HTTP goes
}

// Opens is what one rule opens.
type Opens struct {
	Ports                                            []hostname.PortRange
	Wildcards, SharedSuffix, Addresses, CIDR, TLSAny bool
}

// Read reads the list n. What is wrong with it is a problem of the reader; so is that there
// is one where nothing says that the files belong together, which snapshot does.
func Read(r *yamlread.Reader, n yamlread.Node, snapshot bool) (all []*Include) {
	if !snapshot {
		r.Fail(n, "nothing says that the files beside one object belong together, and an upload may be half done; put them below a prefix of S3 with a manifest.json (`proxy manifest FOLDER`), and load s3://BUCKET/PREFIX/")
		return nil
	}
	if n.Len() > maxFiles {
		r.Fail(n, "it has %d files; write %d at most, and long lists as files of sets", n.Len(), maxFiles)
		return nil
	}
	lines := map[string]int{filepath.Base(n.Position().File): 0}
	isList := r.List(n, func(item yamlread.Node) {
		i := &Include{at: item.Position()}
		before := r.Problems()
		i.read(r, item)
		if r.Problems() > before {
			return
		}
		switch line, again := lines[i.File]; {
		case again && line == 0:
			r.Fail(i.file, "it is this file itself; leave it out")
		case again:
			r.Fail(i.file, "%s is included on line %d already; keep one of the two", yamlread.Quote(i.File), line)
		default:
			lines[i.File] = i.file.Line()
			all = append(all, i)
		}
	})
	if isList && n.Len() == 0 {
		r.Fail(n, "there is no file; write one, or leave the key out")
	}
	return all
}

// read reads one entry.
func (i *Include) read(r *yamlread.Reader, n yamlread.Node) {
	found := r.Object(n,
		yamlread.Key("file", func(n yamlread.Node) { i.file, i.File = n, readPath(r, n) }),
		yamlread.Key("functions", func(n yamlread.Node) { i.readGlobs(r, n) }),
		yamlread.Key("owner", func(n yamlread.Node) {
			if i.Owner = r.Text(n, maxText); i.Owner == "" {
				r.Fail(n, "it is empty; write whom to ask, or leave the key out")
			}
		}),
		yamlread.Key("may", func(n yamlread.Node) { i.may.read(r, n) }),
	)
	r.Require(n, found, "write a path below the folder of this file", "file")
	r.Require(n, found, `write the names that the file may define, such as ["billing-*"]`, "functions")
}

// readPath reads the path of a file below the folder of the one that names it.
func readPath(r *yamlread.Reader, n yamlread.Node) string {
	s := r.Text(n, maxText)
	clean := path.Clean(s)
	switch {
	case s == "":
		r.Fail(n, "it is empty; write the path of a file")
	case strings.ContainsAny(s, "\\:") || !filepath.IsLocal(filepath.FromSlash(s)) || clean == ".":
		r.Fail(n, "%s is not below the folder of this file; write a path such as teams/payments.yaml", yamlread.Quote(s))
	case clean != s:
		r.Fail(n, "%s is a path with detours; write %s", yamlread.Quote(s), yamlread.Quote(clean))
	}
	return s
}

// readGlobs reads the names that the file may define.
func (i *Include) readGlobs(r *yamlread.Reader, n yamlread.Node) {
	if r.List(n, func(item yamlread.Node) {
		s, ok := r.Scalar(item, "a name, or a pattern such as billing-*")
		if !ok {
			return
		}
		if s == "" || len(s) > maxGlob || strings.Trim(s, "*abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~") != "" {
			r.Fail(item, "%s fits no name of a function; write 1 to %d of A-Z a-z 0-9 - . _ ~, and * for any of them", yamlread.Quote(s), maxGlob)
			return
		}
		i.globs = append(i.globs, s)
	}) && n.Len() == 0 {
		r.Fail(n, `the file may define nothing; write names, such as ["billing-*"]`)
	}
}

// read reads what a file may do.
func (m *May) read(r *yamlread.Reader, n yamlread.Node) {
	flag := func(key string, to *bool) yamlread.Field {
		return yamlread.Key(key, func(n yamlread.Node) { *to = r.Boolean(n) })
	}
	r.Object(n,
		yamlread.Key("ports", func(n yamlread.Node) { m.Ports = hostname.MergePorts(r.Ports(n)) }),
		flag("wildcards", &m.Wildcards),
		flag("shared_suffix", &m.SharedSuffix),
		flag("addresses", &m.Addresses),
		flag("cidr", &m.CIDR),
		flag("tls_any", &m.TLSAny),
		flag("report", &m.Report),
		flag("plain_http", &m.PlainHTTP),
	)
}

// Open reads the file and parses it. What is wrong with either is a problem of the reader.
func (i *Include) Open(r *yamlread.Reader) (root yamlread.Node, data []byte, ok bool) {
	data, file, ok := r.File(i.file, maxFile)
	if !ok || !i.Encloses(r, i.file, file) {
		return root, nil, false
	}
	root, ok = r.DocumentIn(file, data, hints)
	return root, data, ok
}

// Encloses reports whether a file that was read lies below the folder of the policy, whatever
// links are on the way; n is where a problem is noted. It looks at files of
// this machine alone: elsewhere there are no links. A file that is not there is not its problem.
func (i *Include) Encloses(r *yamlread.Reader, n yamlread.Node, file string) bool {
	if strings.Contains(i.at.File, "://") {
		return true
	}
	folder := filepath.Dir(i.at.File)
	below, err := filepath.Rel(folder, file)
	if err == nil {
		err = localfile.Inside(folder, below, localfile.Timeout)
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return true
	}
	r.Fail(n, "%s leads out of the folder of the policy by a link (%s); put the file itself there", yamlread.Quote(below), yamlread.OneLine(err.Error()))
	return false
}

// Local reports whether a path that an included file has is one below the folder of that
// file, without a step up; else it notes that at n.
func Local(r *yamlread.Reader, n yamlread.Node, name string) bool {
	ok := filepath.IsLocal(name) && !strings.ContainsAny(name, "\\:")
	if !ok {
		r.Fail(n, "%s is not below the folder of this file; an included file names no others", yamlread.Quote(name))
	}
	return ok
}

// String returns where the entry stands, for messages: egress.yaml:12.
func (i *Include) String() string { return fmt.Sprintf("%s:%d", i.at.File, i.at.Line) }

// Defines reports whether the file may define a function of that name.
func (i *Include) Defines(function string) bool {
	for _, glob := range i.globs {
		if ok, err := path.Match(glob, function); ok && err == nil {
			return true
		}
	}
	return false
}

// Names returns the patterns of the names that the file may define.
func (i *Include) Names() string { return strings.Join(i.globs, ", ") }

// MayReport reports whether functions of the file may have report mode.
func (i *Include) MayReport() bool { return i.may.Report }

// MayWildcards reports whether the file may have wildcards.
func (i *Include) MayWildcards() bool { return i.may.Wildcards }

// Withheld calls yield for each thing that a rule opens and the file may not have: the
// key of may, and what would be right.
func (i *Include) Withheld(a *Opens, yield func(key, cure string)) {
	m := &i.may
	for _, one := range [...]struct {
		opened, may bool
		key, cure   string
	}{
		{a.Wildcards, m.Wildcards, "wildcards", "write the names that are needed"},
		{a.SharedSuffix, m.SharedSuffix, "shared_suffix", "write the names that are needed"},
		{a.Addresses, m.Addresses, "addresses", "leave it out"},
		{a.CIDR, m.CIDR, "cidr", "write the names that are needed"},
		{a.TLSAny, m.TLSAny, "tls_any", "leave it out"},
	} {
		if one.opened && !one.may {
			yield(one.key, one.cure)
		}
	}
	plain := false
	for _, p := range a.Ports {
		if !m.hasPorts(p) {
			yield("ports", fmt.Sprintf("it has no %s; write ports that it has", p))
		}
		plain = plain || p.Contains(80)
	}
	if plain && !m.PlainHTTP {
		yield("plain_http", "leave port 80 out")
	}
}

// Withholds says that the file may not have a thing, by its key of may, and what to do.
func (i *Include) Withholds(key, cure string) string {
	return fmt.Sprintf("may.%s of %s withholds it; %s, or have it allowed there", key, i, cure)
}

// KeysOf are the keys of a rule, by the key of may, that ask for what it withholds; the
// first that is there is the place of the problem.
var KeysOf = map[string][]string{
	"ports": {"ports"}, "plain_http": {"ports"}, "wildcards": {"host", "set"}, "shared_suffix": {"shared_suffix"},
	"addresses": {"addresses"}, "cidr": {"cidr"}, "tls_any": {"tls"},
}

// hasPorts reports whether all of the ports may be opened.
func (m *May) hasPorts(p hostname.PortRange) bool {
	for _, r := range m.Ports { // merged: what is within two of them is within one
		if r.Contains(p.First) && r.Contains(p.Last) {
			return true
		}
	}
	return false
}
