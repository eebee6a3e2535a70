package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/source/manifest"
)

// slowFolder is a folder of which each object takes a second, and counts those under way.
type slowFolder struct {
	folder
	mu        sync.Mutex
	now, most int
}

func (f *slowFolder) get(ctx context.Context, path, tag string, most int) (*answer, error) {
	f.mu.Lock()
	f.now++
	f.most = max(f.most, f.now)
	f.mu.Unlock()
	time.Sleep(time.Second)
	f.mu.Lock()
	f.now--
	f.mu.Unlock()
	return f.folder.get(ctx, path, tag, most)
}

// slow returns a folder of a policy and so many files of teams, in the order of the manifest.
func slow(t *testing.T, files int) (f *slowFolder, r *Remote, paths []string) {
	t.Helper()
	f = &slowFolder{folder: folder{objects: map[string]string{"main.yaml": "one"}}}
	for i := range files {
		paths = append(paths, fmt.Sprintf("teams/%03d.yaml", i))
		f.objects[paths[i]] = fmt.Sprint("text ", i)
	}
	seal(t, f.objects, append([]string{"main.yaml"}, paths...)...)
	return f, &Remote{name: "s3://bucket/dir/" + manifest.Name, base: manifest.Name, prefix: true, get: f.get, every: time.Second, timeout: time.Minute}, paths
}

func TestFilesOfAFolderAreReadAFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, r, paths := slow(t, 300)
		began := time.Now()
		_, open, err := r.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i, path := range paths {
			if data, err := open("s3:/bucket/dir/" + path); err != nil || string(data) != fmt.Sprint("text ", i) {
				t.Fatalf("%s: %q, %v", path, data, err)
			}
		}
		// The manifest, the policy, and 300 by eights.
		if took := time.Since(began); took != (2+38)*time.Second || f.most != atOnce {
			t.Errorf("it took %v, with %d at once", took, f.most)
		}
		if len(f.reads) != 302 {
			t.Errorf("%d reads", len(f.reads))
		}
	})
}

// A policy that reads its files in another order than that of the manifest reads each once.
func TestFilesInAnyOrderAreReadOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, r, paths := slow(t, 50)
		_, open, err := r.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range paths {
			path := paths[i*37%len(paths)]
			if data, err := open("s3:/bucket/dir/" + path); err != nil || string(data) != f.objects[path] {
				t.Fatalf("%s: %q, %v", path, data, err)
			}
		}
		if slices.Sort(f.reads); len(f.reads) != 52 || len(slices.Compact(f.reads)) != 52 {
			t.Errorf("%d reads: %q", len(f.reads), f.reads)
		}
	})
}

// What is held for files that nobody asks for has a bound, and no file waits for it.
func TestFilesThatNobodyAsksForAreHeldWithinABound(t *testing.T) {
	f := &folder{objects: map[string]string{"main.yaml": "one"}}
	large := strings.Repeat("x", maxHeld/4)
	paths := []string{"main.yaml"}
	for i := range 40 {
		paths = append(paths, fmt.Sprint(i))
		f.objects[fmt.Sprint(i)] = large
	}
	seal(t, f.objects, paths...)
	m, err := manifest.Parse([]byte(f.objects[manifest.Name]))
	if err != nil {
		t.Fatal(err)
	}
	h := ahead{remote: &Remote{get: f.get, timeout: time.Minute}, manifest: m, begun: map[string]bool{}, held: map[string]outcome{}}
	for i := 0; i < 40; i += 10 {
		if is := h.read(t.Context(), fmt.Sprint(i)); is.err != nil || len(is.answer.data) != len(large) {
			t.Fatalf("%d: %v", i, is.err)
		}
		if h.bytes > maxHeld || h.bytes != len(h.held)*len(large) {
			t.Fatalf("%d bytes are held in %d files", h.bytes, len(h.held))
		}
	}
	if len(h.held) != 4 {
		t.Errorf("%d files are held", len(h.held))
	}
}

// What cannot be read is an error of the file that is asked for, and of no other.
func TestFileThatFailsBesideAnotherFailsWhenItIsAskedFor(t *testing.T) {
	t.Parallel()
	f, r, paths := slow(t, 5)
	r.get = f.folder.get
	_, open, err := r.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.objects[paths[1]] = "other"
	delete(f.objects, paths[2])
	for i, want := range []error{nil, manifest.ErrDiffers, ErrMissing, nil} {
		data, err := open("s3:/bucket/dir/" + paths[i])
		if !errors.Is(err, want) || (err == nil) != (string(data) == fmt.Sprint("text ", i)) {
			t.Errorf("%s: %q, %v", paths[i], data, err)
		}
	}
	for i, path := range paths {
		if _, watched := r.parts[path]; watched != (i == 1 || i == 2) {
			t.Errorf("%s is watched: %t", path, watched)
		}
	}
}
