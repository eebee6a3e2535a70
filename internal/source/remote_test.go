package source

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/localfile"
)

// folder is what a Remote reads in a bubble, where there is no network.
type folder struct {
	mu      sync.Mutex
	objects map[string]string
	err     error
	reads   []string // path and tag of every call
}

func (f *folder) get(_ context.Context, path, tag string, most int) (*answer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads = append(f.reads, path+" "+tag)
	text, ok := f.objects[path]
	switch {
	case f.err != nil:
		return nil, f.err
	case !ok:
		return nil, ErrMissing
	case tag == "tag of "+text:
		return nil, nil
	case len(text) > most:
		return nil, tooLarge(most)
	default:
		return &answer{data: []byte(text), tag: "tag of " + text}, nil
	}
}

// fail makes every read fail, or none.
func (f *folder) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// polled loads main.yaml and names.txt, which it names, runs a Remote in a
// bubble, lets three polls pass after each step, and returns how often changed
// was called after each. What changed leads to is a load.
func polled(t *testing.T, f *folder, steps ...func()) (calls []int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &Remote{name: "s3://bucket/main.yaml", base: "main.yaml", get: f.get, every: time.Second, timeout: time.Second}
		load := func() {
			if _, open, err := r.Load(t.Context()); err == nil {
				_, _ = open("s3:/bucket/names.txt")
			}
		}
		load()
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		done := make(chan struct{})
		go func() { r.Run(ctx, func() { n++; load() }); close(done) }()
		time.Sleep(500 * time.Millisecond) // steps fall between polls
		for _, step := range steps {
			n = 0
			f.mu.Lock()
			step()
			f.mu.Unlock()
			time.Sleep(3 * time.Second)
			synctest.Wait()
			calls = append(calls, n)
		}
		cancel()
		<-done
	})
	return calls
}

func TestEveryChangeOfARemoteObjectIsToldOnce(t *testing.T) {
	errDown := errors.New("connection refused")
	for _, c := range []struct {
		name string
		step func(*folder)
		want int
	}{
		{"nothing", func(*folder) {}, 0},
		{"another configuration", func(f *folder) { f.objects["main.yaml"] = "two" }, 1},
		{"another file that it names", func(f *folder) { f.objects["names.txt"] = "two" }, 1},
		{"both", func(f *folder) { f.objects["main.yaml"], f.objects["names.txt"] = "two", "two" }, 1},
		{"the configuration is gone", func(f *folder) { delete(f.objects, "main.yaml") }, 1},
		{"a file that it names is gone", func(f *folder) { delete(f.objects, "names.txt") }, 1},
		{"nothing can be read", func(f *folder) { f.err = ErrDenied }, 1},
		{"nothing answers", func(f *folder) { f.err = errDown }, 1},
		{"an object that it does not name", func(f *folder) { f.objects["other.txt"] = "two" }, 0},
	} {
		f := &folder{objects: map[string]string{"main.yaml": "one", "names.txt": "one"}}
		got := polled(t, f, func() { c.step(f) }, func() {})
		if got[0] != c.want || got[1] != 0 {
			t.Errorf("%s: told %v times, want %d and then 0", c.name, got, c.want)
		}
	}
}

func TestObjectThatCanBeReadAgainIsTold(t *testing.T) {
	for _, kind := range []error{ErrMissing, ErrDenied, ErrTooLarge, errors.New("down")} {
		f := &folder{objects: map[string]string{"main.yaml": "one", "names.txt": "one"}}
		got := polled(t, f, func() { f.err = kind }, func() { f.err = nil })
		if got[0] != 1 || got[1] != 1 {
			t.Errorf("%v: told %v times, want once each", kind, got)
		}
	}
}

func TestFileThatWasMissingAtTheLastLoadIsToldWhenItIsThere(t *testing.T) {
	f := &folder{objects: map[string]string{"main.yaml": "one"}}
	if got := polled(t, f, func() {}, func() { f.objects["names.txt"] = "one" }); got[0] != 0 || got[1] != 1 {
		t.Errorf("told %v times, want 0 and 1", got)
	}
}

func TestAnswerThatIsMissedOnceIsNoChange(t *testing.T) {
	f := &folder{objects: map[string]string{"main.yaml": "one", "names.txt": "one"}}
	synctest.Test(t, func(t *testing.T) {
		r := &Remote{name: "s3://bucket/main.yaml", base: "main.yaml", get: f.get, every: time.Second, timeout: time.Second}
		if _, _, err := r.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		done := make(chan struct{})
		go func() { r.Run(ctx, func() { n++ }); close(done) }()
		time.Sleep(500 * time.Millisecond)
		for range 5 { // every other poll fails
			f.fail(errors.New("down"))
			time.Sleep(time.Second)
			f.fail(nil)
			time.Sleep(time.Second)
		}
		cancel()
		<-done
		if n != 0 {
			t.Errorf("told %d times", n)
		}
	})
}

func TestPollsAskWithTheTagAndLoadsWithout(t *testing.T) {
	f := &folder{objects: map[string]string{"main.yaml": "one", "names.txt": "two"}}
	polled(t, f, func() {})
	want := "main.yaml |names.txt |" + strings.Repeat("main.yaml tag of one|names.txt tag of two|", 3)
	if got := strings.Join(f.reads, "|") + "|"; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
}

func TestFilesAreReadBesideTheConfigurationAndNowhereElse(t *testing.T) {
	f := &folder{objects: map[string]string{"main.yaml": "one", "names.txt": "two", "more/names.txt": "three"}}
	r := &Remote{name: "s3://bucket/dir/main.yaml", base: "main.yaml", get: f.get, timeout: time.Minute}
	_, open, err := r.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	local := filepath.Join(t.TempDir(), "tls.crt")
	if err := os.WriteFile(local, []byte("of this machine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"names.txt": "two", "more/names.txt": "three", "./more/../names.txt": "two", local: "of this machine",
		"../main.yaml": "", "../../other/names.txt": "", "..": "", ".": "",
	} {
		outside := want == ""
		joined := path // as the reader of the configuration joins it
		if !filepath.IsAbs(path) {
			joined = filepath.Join(filepath.Dir(r.Name()), path)
		}
		data, err := open(joined)
		if string(data) != want || (err == nil) == outside || outside && !strings.Contains(err.Error(), "outside of the folder") {
			t.Errorf("%s: %q, %v", path, data, err)
		}
	}
}

func TestNameThatCannotBeReadSafelyIsRefused(t *testing.T) {
	t.Setenv("AWS_REGION", "eu-west-1")
	for name, want := range map[string]string{
		"s3://bucket":                         "write s3://bucket/key",
		"s3://bucket/":                        "write s3://bucket/key",
		"s3:///key":                           "write s3://bucket/key",
		"s3:///dir/":                          "write s3://bucket/key",
		"https://config.example/dir/":         "write https://host/path",
		"http://config.example/egress.yaml":   "plain http is read from loopback alone",
		"http://10.0.0.1/egress.yaml":         "plain http is read from loopback alone",
		"http://127.0.0.1.example/egress":     "plain http is read from loopback alone",
		"https://config.example/":             "write https://host/path",
		"https://config.example":              "write https://host/path",
		"https:///egress.yaml":                "write https://host/path",
		"https://u:hush@config.example/e":     "has no place in it",
		"https://config.example/e?k=hush#top": "has no place in it",
		"https://config.example/%zzhush":      "it is not a URL",
		"ftp://config.example/egress.yaml":    "begins with none of",
		"file:///etc/egress.yaml":             "begins with none of",
	} {
		if !IsRemote(name) {
			t.Errorf("%s is a path", name)
		}
		_, err := NewRemote(t.Context(), name, RemoteOptions{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
		if err != nil && !strings.Contains(name, "%zz") && strings.Contains(err.Error(), "hush") {
			t.Errorf("the error repeats a secret: %v", err)
		}
	}
	for _, path := range []string{"egress.yaml", "/etc/egress.yaml", "s3/egress.yaml", "C:egress.yaml"} {
		if IsRemote(path) {
			t.Errorf("%s is no path", path)
		}
	}
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	if _, err := NewRemote(t.Context(), "s3://bucket/key", RemoteOptions{}); err == nil || !strings.Contains(err.Error(), "AWS_REGION is not set") {
		t.Errorf("without a region: %v", err)
	}
}

// remote returns a Remote of a server on loopback.
func remote(t *testing.T, path string, serve http.HandlerFunc) *Remote {
	t.Helper()
	s := httptest.NewServer(serve)
	t.Cleanup(s.Close)
	r, err := NewRemote(t.Context(), s.URL+path, RemoteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAnswerOfAnHTTPServerIsTheConfigurationOnlyWhereItIs200(t *testing.T) {
	for _, c := range []struct {
		status int
		want   error // nil: none of the documented ones
	}{
		{http.StatusNotFound, ErrMissing}, {http.StatusGone, ErrMissing},
		{http.StatusForbidden, ErrDenied}, {http.StatusUnauthorized, ErrDenied},
		{http.StatusNotModified, nil}, {http.StatusNoContent, nil}, {http.StatusInternalServerError, nil},
		{http.StatusFound, nil}, {http.StatusPermanentRedirect, nil},
	} {
		var followed atomic.Bool
		r := remote(t, "/egress.yaml", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/egress.yaml" {
				followed.Store(true)
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(c.status)
		})
		_, _, err := r.Load(t.Context())
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%d: %v, want %v", c.status, err, c.want)
		}
		if followed.Load() {
			t.Errorf("%d: the redirect was followed", c.status)
		}
	}
}

func TestHTTPServerIsAskedWithItsQueryAndItsTag(t *testing.T) {
	tags := make(chan string, 10)
	r := remote(t, "/dir/egress?label=a", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RequestURI() != "/dir/egress?label=a" && r.URL.RequestURI() != "/dir/names.txt" {
			t.Errorf("asked for %s", r.URL)
		}
		tags <- r.Header.Get("If-None-Match")
		if r.Header.Get("If-None-Match") == `"v1"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("ETag", `"v1"`)
		_, _ = w.Write([]byte("version: 1"))
	})
	data, open, err := r.Load(t.Context())
	if err != nil || string(data) != "version: 1" {
		t.Fatalf("%q, %v", data, err)
	}
	if strings.Contains(r.Name(), "label") {
		t.Errorf("the name has the query: %s", r.Name())
	}
	if _, err := open(filepath.Join(filepath.Dir(r.Name()), "names.txt")); err != nil {
		t.Error(err)
	}
	if _, differs := r.look(t.Context()); differs {
		t.Error("the object is taken for another")
	}
	for _, want := range []string{"", "", `"v1"`, `"v1"`} {
		if got := <-tags; got != want {
			t.Errorf("If-None-Match: %s, want %s", got, want)
		}
	}
}

// A server without ETags, and one whose weak ones stay when the content changes.
func TestServerWithoutStrongTagsIsComparedByContent(t *testing.T) {
	for _, tag := range []string{"", `W/"v1"`} {
		var text atomic.Value
		text.Store("one")
		r := remote(t, "/egress.yaml", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", tag)
			if tag != "" && r.Header.Get("If-None-Match") == tag {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			_, _ = w.Write([]byte(text.Load().(string)))
		})
		if _, _, err := r.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, differs := r.look(t.Context()); differs {
			t.Errorf("%q: the same content is taken for another", tag)
		}
		text.Store("two")
		if _, differs := r.look(t.Context()); !differs {
			t.Errorf("%q: another content is taken for the same", tag)
		}
	}
}

func TestObjectOverTheLimitIsNotRead(t *testing.T) {
	size := MaxObject + 1
	r := remote(t, "/egress.yaml", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, size)) })
	if _, _, err := r.Load(t.Context()); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%d bytes: %v", size, err)
	}
	size = MaxObject
	if data, _, err := r.Load(t.Context()); err != nil || len(data) != size {
		t.Errorf("%d bytes: %d, %v", size, len(data), err)
	}
}

func TestServerThatDoesNotAnswerInTimeIsAnError(t *testing.T) {
	for name, begun := range map[string]bool{"no answer": false, "half an answer": true} {
		r := remote(t, "/egress.yaml", func(w http.ResponseWriter, r *http.Request) {
			if begun {
				_, _ = w.Write([]byte("version: 1\n"))
				_ = http.NewResponseController(w).Flush()
			}
			<-r.Context().Done()
		})
		r.timeout = 50 * time.Millisecond
		if _, _, err := r.Load(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnswerThatIsCutShortIsAnError(t *testing.T) {
	r := remote(t, "/egress.yaml", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("version: 1\n"))
	})
	if _, _, err := r.Load(t.Context()); err == nil {
		t.Error("a part of the configuration is taken for the whole")
	}
}

// http.ProxyFromEnvironment reads the environment once for each process, and
// never uses a proxy for loopback: what can be seen are the transports.
func TestClientsTakeNoProxyFromTheEnvironment(t *testing.T) {
	if newClient().Transport.(*http.Transport).Proxy != nil {
		t.Error("the client asks the environment for a proxy")
	}
	if newSDKClient().GetTransport().Proxy != nil {
		t.Error("the client of the SDK asks the environment for a proxy")
	}
}

// A file of this machine that a remote configuration names is a regular one, of the size
// that an object may have.
func TestFilesBesideARemoteConfigurationAreRegular(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fifo, large := filepath.Join(dir, "fifo"), filepath.Join(dir, "large")
	err := errors.Join(syscall.Mkfifo(fifo, 0o600), os.WriteFile(large, nil, 0o600), os.Truncate(large, MaxObject+1))
	if err != nil {
		t.Fatal(err)
	}
	r := &Remote{name: "s3://bucket/main.yaml"}
	for path, want := range map[string]error{fifo: localfile.ErrNotRegular, large: ErrTooLarge} {
		if _, err := r.open(t.Context(), path, nil); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}
