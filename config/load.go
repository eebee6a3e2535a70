package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/aws"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/include"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/policytest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/settings"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/localfile"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// Limits of the sizes of files, in bytes.
const (
	maxFile = 64 << 20  // the configuration, certificates and keys
	maxList = 256 << 20 // the file of a set
)

// Load reads and checks the file at path and the files it names, those with a
// relative path from the folder of the file. The error is an *Error, or that
// of opening or reading path.
func Load(path string) (*Config, error) { return LoadWatched(path, func(string) {}) }

// LoadWatched is Load for a caller that watches for changes: it calls reading
// with the path of each file before it opens it, also where the load fails.
func LoadWatched(path string, reading func(path string)) (*Config, error) {
	reading(path)
	data, err := localfile.Read(path, maxFile, localfile.Timeout)
	if err != nil {
		return nil, fmt.Errorf("loading the configuration: %w", err)
	}
	return Parse(path, data, func(path string) ([]byte, error) {
		reading(path)
		return ReadFile(path)
	})
}

// ReadFile reads a file that a configuration names, for Parse. It must be a regular one.
func ReadFile(path string) ([]byte, error) {
	return localfile.Read(path, maxList, localfile.Timeout)
}

// Parse checks data, which is the configuration file called name. It calls
// open for each file that the configuration names, with a path that is
// relative to the same folder as name; nil: no other file can be read. The
// error is an *Error. Where name is no path, it may include no files: see ParseSnapshot.
func Parse(name string, data []byte, open func(path string) ([]byte, error)) (*Config, error) {
	return parseFiles(name, data, open, !strings.Contains(name, "://"))
}

// ParseSnapshot is Parse for a caller who knows that what open returns belongs together,
// wherever it is: of a half-written upload it must return an error.
func ParseSnapshot(name string, data []byte, open func(path string) ([]byte, error)) (*Config, error) {
	return parseFiles(name, data, open, true)
}

// parseFiles is both.
func parseFiles(name string, data []byte, open func(path string) ([]byte, error), snapshot bool) (*Config, error) {
	r := &reader{
		snapshot:   snapshot,
		Reader:     yamlread.New(name, open),
		conditions: map[string]*policy.Conditions{},
		defined:    map[string]yamlread.Position{},
		callers:    map[string]positions{},
		sets:       map[string]*set{},
		config:     defaults(),
	}
	hash := sha256.New()
	hash.Write(data)
	r.hash = hash
	if len(data) > maxFile {
		r.FailAt(yamlread.Position{File: name, Line: 1}, "file", "it is larger than %d MiB; move long lists to files of sets", maxFile>>20)
	} else if root, ok := r.Document(data, hints); ok {
		r.top(root)
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	c := r.config
	c.hash = hex.EncodeToString(hash.Sum(nil))[:12]
	if err := r.runTests(); err != nil {
		return nil, err
	}
	return c, nil
}

// runTests holds the tests of a file that is good without them against what it compiles to,
// which is kept for Compile.
func (r *reader) runTests() error {
	if r.tests.Empty() {
		return nil
	}
	p, err := policy.Compile(r.config.Spec())
	if err != nil {
		return fmt.Errorf("compiling the policy: %w", err)
	}
	r.config.compiled = p
	functions := make([]policytest.Function, len(r.config.Functions))
	for i, f := range r.config.Functions {
		functions[i] = policytest.Function{Name: f.Name, File: f.File}
	}
	r.tests.Judge(r.Reader, p, functions)
	return r.Err()
}

// hints are what would be right in a configuration that is wrong as a whole.
var hints = yamlread.Hints{Empty: "write version: 1 and at least one function", Anchors: "write shared lists under sets"}

// reader reads one configuration and gathers what is wrong with it.
type reader struct {
	*yamlread.Reader
	hash io.Writer // takes the bytes of the files of sets

	config     *Config
	suffixes   *hostname.Suffixes            // nil until the first wildcard
	conditions map[string]*policy.Conditions // shared by equal rules
	defined    map[string]yamlread.Position  // where each function stands
	tests      policytest.Suite
	from       *include.Include // of the file that is being read; nil: the configuration itself
	sets       map[string]*set
	callers    map[string]positions // of each function, for conflicts between them

	asksCertificates bool // listen.tls.client_ca is there
	snapshot         bool // what is read belongs together
}

// defaults returns what holds where the file is silent.
func defaults() *Config {
	return &Config{
		Listen: Listen{Proxy: defaultProxy, Admin: defaultAdmin},
		DNS:    settings.DefaultDNS(),
		Limits: settings.DefaultLimits(),
	}
}

// top reads the whole file. Sets come before functions, which refer to them.
func (r *reader) top(n yamlread.Node) {
	found := r.Object(n,
		yamlread.Key("version", r.version),
		yamlread.Key("listen", r.listen),
		yamlread.Key("deny", r.deny),
		yamlread.Key("aws", func(n yamlread.Node) { r.config.AWS = aws.Read(r.Reader, n) }),
		yamlread.Key("deny_principals", func(n yamlread.Node) { r.config.DenyPrincipals = aws.DenyPrincipals(r.Reader, n) }),
		yamlread.Key("deny_tokens", func(n yamlread.Node) { r.config.DenyTokens = aws.DenyTokens(r.Reader, n) }),
		yamlread.Key("sets", r.readSets),
		yamlread.Key("functions", r.functions),
		yamlread.Key("include", r.includes),
		yamlread.Key("tests", func(n yamlread.Node) { r.tests.Read(r.Reader, n, "") }),
		yamlread.Key("dns", func(n yamlread.Node) { r.config.DNS.Read(r.Reader, n) }),
		yamlread.Key("limits", func(n yamlread.Node) { r.config.Limits.Read(r.Reader, n) }),
		yamlread.Key("audit", func(n yamlread.Node) { r.config.Audit.Read(r.Reader, n) }),
	)
	r.Require(n, found, "write version: 1", "version")
	if _, included := found["include"]; !included {
		r.Require(n, found, "write at least one function", "functions")
	}
	r.conflicts()
	if clients := r.config.DNS.Clients; r.config.Listen.DNS.IsValid() && len(clients) == 0 {
		at := found["dns"]
		if at.IsZero() {
			at = found["listen"]
		}
		r.Fail(at, "listen.dns is set, but nobody may ask; write dns.clients, such as [10.0.0.0/8]")
	}
}

// version reads the version of the format, of which there is one.
func (r *reader) version(n yamlread.Node) {
	if version, ok := r.Integer(n, 0, math.MaxInt32); ok && version != 1 {
		r.Fail(n, "%d is not a version of this format; write 1", version)
	}
}
