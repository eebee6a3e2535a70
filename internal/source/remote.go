package source

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/localfile"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/source/manifest"
)

// The errors that tell why an object could not be read. The cause is wrapped
// beside them; what is none of them is a server that fails, that cannot be
// reached, or that does not answer in time.
var (
	// ErrMissing says that there is no such object.
	ErrMissing = errors.New("there is no such object")
	// ErrDenied says that the object may not be read. S3 gives this answer for
	// an object that is missing too, unless its bucket may be listed.
	ErrDenied = errors.New("access denied")
	// ErrTooLarge says that the object has more than MaxObject bytes, or a manifest
	// more than manifest.MaxBytes.
	ErrTooLarge = errors.New("it is too large")
)

// MaxObject is how many bytes an object may have.
const MaxObject = manifest.MaxFile

// Defaults of RemoteOptions.
const (
	defaultPoll    = 10 * time.Second
	defaultTimeout = 20 * time.Second
)

// RemoteOptions says how a Remote behaves. The zero RemoteOptions is for
// production.
type RemoteOptions struct {
	Every   time.Duration // between two polls; zero or less: 10 s
	Timeout time.Duration // for one object, attempts included; zero or less: 20 s

	// Reading is called with the path of a file of this machine before it is
	// read; nil: nobody wants to know.
	Reading func(path string)
}

// Remote is a configuration that is not a file of this machine, and the objects
// beside it. Make one with NewRemote. It is safe for one Load at a time, beside
// one Run.
type Remote struct {
	name    string // for people and for Parse: without a query; of a prefix that of its manifest
	base    string // last element of name
	prefix  bool   // name is a manifest, and what it names is loaded
	get     get
	every   time.Duration
	timeout time.Duration
	reading func(path string)

	mu    sync.Mutex
	load  int             // how many loads have begun
	main  string          // of a prefix: the name of the policy that the last load read; "": of none
	parts map[string]held // what the last one read, by the path below the folder
}

// held is what is remembered of an object, or of a file.
type held struct {
	tag   string // its ETag; "": it has none, could not be read, or is a file
	state string // tells one content or failure from another
	most  int    // how many bytes were read of it at most, of an object

	file fileState // of a file
}

// answer is an object as it was read.
type answer struct {
	data []byte
	tag  string
}

// get reads an object by its path below the folder of the configuration, of at most
// so many bytes. A nil answer without an error is an object that still has the given tag.
type get func(ctx context.Context, path, tag string, most int) (*answer, error)

// IsRemote reports whether a name is for NewRemote and no path.
func IsRemote(name string) bool { return strings.Contains(name, "://") }

// NewRemote returns the source that a name stands for, and reads nothing yet:
//
//	s3://bucket/key         an object of S3, with the SDK's default credentials and AWS_REGION
//	s3://bucket/prefix/     the objects that the manifest.json below the prefix names
//	https://host/path       what an HTTP server answers
//	http://127.0.0.1/path   the same, from loopback or "localhost" alone, as the AppConfig agent
//
// Only the SDK's own configuration is read from the environment.
func NewRemote(ctx context.Context, name string, o RemoteOptions) (*Remote, error) {
	r := &Remote{every: o.Every, timeout: o.Timeout, reading: o.Reading}
	if r.every <= 0 {
		r.every = defaultPoll
	}
	if r.timeout <= 0 {
		r.timeout = defaultTimeout
	}
	scheme, _, _ := strings.Cut(name, "://")
	var err error
	switch scheme {
	case "s3":
		if r.name = name; isPrefix(name) {
			r.name, r.prefix = name+manifest.Name, true
		}
		r.get, err = s3Getter(ctx, r.name)
	case "http", "https":
		r.name, r.get, err = httpGetter(name)
	default:
		err = errors.New("it begins with none of s3://, https:// and http://")
	}
	if err != nil {
		return nil, fmt.Errorf("using %s: %w", withoutSecrets(name), err)
	}
	r.base = r.name[strings.LastIndexByte(r.name, '/')+1:]
	return r, nil
}

// withoutSecrets cuts what an error must not repeat of a name that is wrong.
func withoutSecrets(name string) string {
	if at := strings.LastIndexByte(name, '@'); at >= 0 {
		name = "…" + name[at:]
	}
	name, _, _ = strings.Cut(name, "?")
	return name
}

// Name returns the name of the configuration, for messages. Of a prefix it is that of the
// policy that the last Load read, or of the manifest where it read none.
func (r *Remote) Name() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return cmp.Or(r.main, r.name)
}

// Snapshot reports whether what a Load reads belongs together, because a manifest says so.
func (r *Remote) Snapshot() bool { return r.prefix }

// Load reads the configuration anew, and returns what reads the files that it
// names until ctx ends: a relative path is an object beside or below the
// configuration, an absolute one a file of this machine. Nothing is kept from
// the load before. Of a prefix nothing is loaded but what its manifest names, with the
// content that it names.
func (r *Remote) Load(ctx context.Context) (data []byte, open func(path string) ([]byte, error), err error) {
	r.mu.Lock()
	r.load++
	r.main, r.parts = "", map[string]held{}
	r.mu.Unlock()
	read := r.read
	if r.prefix {
		data, read, err = r.loadPrefix(ctx)
	} else {
		data, err = r.read(ctx, r.base)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", r.name, err)
	}
	return data, func(path string) ([]byte, error) { return r.open(ctx, path, read) }, nil
}

// reads returns the content of an object by its path below the folder.
type reads func(ctx context.Context, path string) ([]byte, error)

// open reads a file that the configuration names. The path is joined to the
// folder of Name as paths of files are, which makes one slash of two.
func (r *Remote) open(ctx context.Context, path string, read reads) ([]byte, error) {
	if filepath.IsAbs(path) {
		if r.reading != nil {
			r.reading(path)
		}
		return readFile(path)
	}
	below, ok := strings.CutPrefix(path, filepath.Dir(r.name)+"/")
	if !ok {
		return nil, errors.New("it is outside of the folder of the configuration")
	}
	return read(ctx, below)
}

// readFile reads a file of this machine.
func readFile(path string) ([]byte, error) {
	data, err := localfile.Read(path, MaxObject, localfile.Timeout)
	if err == nil && len(data) > MaxObject {
		return nil, tooLarge(MaxObject)
	}
	return data, err
}

// tooLarge returns ErrTooLarge with the limit.
func tooLarge(most int) error {
	if most%(1<<20) == 0 && most > 0 {
		return fmt.Errorf("%w: larger than %d MiB", ErrTooLarge, most>>20)
	}
	return fmt.Errorf("%w: larger than %d bytes", ErrTooLarge, most)
}

// readAll reads what is not larger than so many bytes.
func readAll(from io.Reader, most int) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(from, int64(most)+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > most:
		return nil, tooLarge(most)
	default:
		return data, nil
	}
}

// read reads an object and remembers how it was.
func (r *Remote) read(ctx context.Context, path string) ([]byte, error) {
	a, err := r.request(ctx, path, MaxObject)
	r.remember(path, MaxObject, a, err)
	if err != nil {
		return nil, err
	}
	return a.data, nil
}

// request reads an object of at most so many bytes.
func (r *Remote) request(ctx context.Context, path string, most int) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	a, err := r.get(ctx, path, "", most)
	if err == nil && a == nil {
		err = errors.New("the server says that it is unchanged, which nobody asked")
	}
	return a, err
}

// remember has Run look at an object of which so many bytes were read at most.
func (r *Remote) remember(path string, most int, a *answer, err error) {
	h := held{state: stateOf(a, err), most: most}
	if err == nil {
		h.tag = a.tag
	}
	r.mu.Lock()
	r.parts[path] = h
	r.mu.Unlock()
}

// stateOf returns what tells one content or failure from another. The text of
// an error is not a part of it: it has the id of the request.
func stateOf(a *answer, err error) string {
	if err == nil {
		return fmt.Sprintf("%x", sha256.Sum256(a.data))
	}
	for _, kind := range []error{ErrMissing, ErrDenied, ErrTooLarge} {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	return "failed"
}

// Run polls until ctx ends. It calls changed from its own goroutine when an
// object that the last Load asked for is another than it was then, cannot be
// read any more, or can be read again, and was so in two polls: several objects
// that are put one after the other are one change, and an answer that is missed
// once is none. A failure that stays is told once.
func (r *Remote) Run(ctx context.Context, changed func()) {
	poll(ctx, r.every, r.look, changed)
}

// look asks for every object of the last load, with the tag that it had then.
// It returns what tells one outcome from another, and whether an object differs
// from what that load had.
func (r *Remote) look(ctx context.Context) (now string, differs bool) {
	r.mu.Lock()
	parts, load := maps.Clone(r.parts), r.load
	r.mu.Unlock()
	return compare(ctx, load, parts, func(path string, then held) string { return r.stateNow(ctx, path, then) })
}

// stateNow returns the state of an object that was so before.
func (r *Remote) stateNow(ctx context.Context, path string, was held) string {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	a, err := r.get(ctx, path, was.tag, was.most)
	if err == nil && a == nil {
		return was.state
	}
	return stateOf(a, err)
}
