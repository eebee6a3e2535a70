package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
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

// LoadWatched is Load for who wants to know of later changes: it calls reading
// with the path of each file before it opens it, also where the load fails.
func LoadWatched(path string, reading func(path string)) (*Config, error) {
	reading(path)
	data, err := readFile(path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("loading the configuration: %w", err)
	}
	return Parse(path, data, func(path string) ([]byte, error) {
		reading(path)
		return ReadFile(path)
	})
}

// ReadFile reads a file that a configuration names, for Parse.
func ReadFile(path string) ([]byte, error) { return readFile(path, maxList) }

// readFile reads a file, at most one byte beyond most: whoever gets it checks
// the length, so that the message has a line. It makes room once: a buffer that
// grows leaves several times the file to the collector.
func readFile(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	var data bytes.Buffer
	if info, err := f.Stat(); err == nil {
		data.Grow(int(min(info.Size(), most)) + bytes.MinRead)
	}
	_, err = data.ReadFrom(io.LimitReader(f, most+1))
	return data.Bytes(), err
}

// Parse checks data, which is the configuration file called name. It calls
// open for each file that the configuration names, with a path that is
// relative to the same folder as name; nil: no other file can be read. The
// error is an *Error.
func Parse(name string, data []byte, open func(path string) ([]byte, error)) (*Config, error) {
	r := &reader{
		files:      []string{name},
		open:       open,
		read:       map[string][]byte{},
		conditions: map[string]*policy.Conditions{},
		config:     defaults(),
	}
	hash := sha256.New()
	hash.Write(data)
	r.hash = hash
	if len(data) > maxFile {
		r.failAt(0, 1, "file", "it is larger than %d MiB; move long lists to files of sets", maxFile>>20)
	} else if root := r.document(data); root != nil {
		r.top(value{node: root, line: max(root.Line, 1)})
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	c := r.config
	c.hash = hex.EncodeToString(hash.Sum(nil))[:12]
	return c, nil
}

// reader reads one configuration and gathers what is wrong with it.
type reader struct {
	files    []string // [0] is the configuration
	open     func(path string) ([]byte, error)
	read     map[string][]byte // what open returned
	hash     io.Writer         // takes the bytes of the files of sets
	problems []located

	config     *Config
	suffixes   *hostname.Suffixes            // nil until the first wildcard
	conditions map[string]*policy.Conditions // shared by equal rules
	sets       map[string]*set
	callers    map[string]positions // of each function, for conflicts between them

	asksCertificates bool // listen.tls.client_ca is there
}

// defaults returns what holds where the file is silent.
func defaults() *Config {
	return &Config{
		Listen: Listen{Proxy: defaultProxy, Admin: defaultAdmin},
		DNS: DNS{
			AnswerUnion:            true,
			Types:                  []uint16{typeA, typeAAAA, typeHTTPS, typeSVCB, typeCNAME, typePTR},
			DistinctNamesPerMinute: 1000,
		},
		Limits: defaultLimits(),
	}
}

// top reads the whole file. Sets come before functions, which refer to them.
func (r *reader) top(v value) {
	found := r.object(v, []field{
		{"version", r.version},
		{"listen", r.listen},
		{"deny", r.deny},
		{"sets", r.readSets},
		{"functions", r.functions},
		{"dns", r.dns},
		{"limits", r.limits},
		{"audit", r.audit},
	})
	r.require(v, found, "write version: 1", "version")
	r.require(v, found, "write at least one function", "functions")
	if clients := r.config.DNS.Clients; r.config.Listen.DNS.IsValid() && len(clients) == 0 {
		at := found["dns"]
		if at.node == nil {
			at = found["listen"]
		}
		r.fail(at, "listen.dns is set, but nobody may ask; write dns.clients, such as [10.0.0.0/8]")
	}
}

// version reads the version of the format, of which there is one.
func (r *reader) version(v value) {
	if n, ok := r.integer(v, 0, math.MaxInt32); ok && n != 1 {
		r.fail(v, "%d is not a version of this format; write 1", n)
	}
}

// resolve returns the path of a file that the configuration names.
func (r *reader) resolve(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(r.files[0]), path)
}

// file reads the file that v names and returns its number in r.files. What
// cannot be read is a problem: a policy is never loaded without a part of it.
func (r *reader) file(v value, most int) (data []byte, number int, ok bool) {
	name, ok := r.scalar(v, "the path of a file")
	if !ok {
		return nil, 0, false
	}
	path := r.resolve(name)
	data, again := r.read[path]
	if !again {
		var err error
		if data, err = r.openFile(path); err != nil {
			r.fail(v, "%s cannot be read (%v); write the path of a file that can", quote(name), reason(err))
			return nil, 0, false
		}
		r.read[path] = data
		r.files = append(r.files, path)
	}
	number = slices.Index(r.files, path)
	if len(data) > most {
		r.failAt(number, 1, v.at.String(), "it is larger than %d MiB; split it", most>>20)
		return nil, 0, false
	}
	return data, number, true
}

// openFile reads a file by the caller's function.
func (r *reader) openFile(path string) ([]byte, error) {
	if r.open == nil {
		return nil, errors.New("this configuration stands alone")
	}
	return r.open(path)
}

// reason takes the path out of an error of the file system, on one line.
func reason(err error) string {
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return quoteLine(err.Error())
}
