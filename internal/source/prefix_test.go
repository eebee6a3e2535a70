package source

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/source/manifest"
)

// seal puts a manifest beside objects, which names them all, the first as the main file.
func seal(t *testing.T, objects map[string]string, paths ...string) {
	t.Helper()
	m := &manifest.Manifest{Main: paths[0]}
	for _, path := range paths {
		if err := m.Add(manifest.Of(path, []byte(objects[path]))); err != nil {
			t.Fatal(err)
		}
	}
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	objects[manifest.Name] = string(data)
}

// policy is a folder of S3 with a policy and a team's file, under one manifest.
func policy(t *testing.T) *folder {
	t.Helper()
	f := &folder{objects: map[string]string{"main.yaml": "one", "teams/a.yaml": "first", "other.yaml": "not of it"}}
	seal(t, f.objects, "main.yaml", "teams/a.yaml")
	return f
}

// ofPrefix returns a Remote of that folder.
func ofPrefix(f *folder) *Remote {
	return &Remote{name: "s3://bucket/dir/" + manifest.Name, base: manifest.Name, prefix: true, get: f.get, every: time.Second, timeout: time.Second}
}

// whole loads the policy and the team's file, as the reader of a configuration does.
func whole(ctx context.Context, r *Remote) (string, error) {
	data, open, err := r.Load(ctx)
	if err != nil {
		return "", err
	}
	team, err := open(filepath.Join(filepath.Dir(r.Name()), "teams/a.yaml"))
	return string(data) + " " + string(team), err
}

// What a manifest does not vouch for is not loaded, whatever the cause.
func TestFolderThatIsNotAsItsManifestSaysIsNotLoaded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		step func(map[string]string)
		want error  // nil: any
		says string // what and what to do
	}{
		{"half written: the team's file first", func(o map[string]string) { o["teams/a.yaml"] = "other" }, manifest.ErrDiffers, "teams/a.yaml has SHA-256"},
		{"half written: the policy first", func(o map[string]string) { o["main.yaml"] = "two" }, manifest.ErrDiffers, "main.yaml has SHA-256"},
		{"half written: the manifest first", func(o map[string]string) {
			later := maps.Clone(o)
			later["teams/a.yaml"] = "other"
			seal(t, later, "main.yaml", "teams/a.yaml")
			o[manifest.Name] = later[manifest.Name]
		}, manifest.ErrDiffers, "upload all files, and manifest.json last"},
		{"an object has more than is named", func(o map[string]string) { o["teams/a.yaml"] += "\n" }, manifest.ErrDiffers, "teams/a.yaml: it is too large"},
		{"an object is cut short", func(o map[string]string) { o["teams/a.yaml"] = "fir" }, manifest.ErrDiffers, "and 3 bytes, not"},
		{"an object is missing", func(o map[string]string) { delete(o, "teams/a.yaml") }, ErrMissing, "teams/a.yaml is named by manifest.json, and there is no such object; upload"},
		{"the policy is missing", func(o map[string]string) { delete(o, "main.yaml") }, ErrMissing, "main.yaml is named by"},
		{"an object is not named", func(o map[string]string) { seal(t, o, "main.yaml") }, manifest.ErrNotNamed, "teams/a.yaml: manifest.json does not name it"},
		{"there is no manifest", func(o map[string]string) { delete(o, manifest.Name) }, ErrMissing, "write it with `proxy manifest`"},
		{"the manifest is too large", func(o map[string]string) { o[manifest.Name] += strings.Repeat(" ", manifest.MaxBytes) }, ErrTooLarge, "larger than 4 MiB"},
		{"the manifest is cut short", func(o map[string]string) { o[manifest.Name] = o[manifest.Name][:99] }, nil, "unexpected EOF"},
		{"a path leads out of the prefix", func(o map[string]string) {
			o[manifest.Name] = strings.Replace(o[manifest.Name], "teams/a.yaml", "../a.yaml", 1)
		}, nil, "no path below the folder of the manifest"},
	} {
		f := policy(t)
		r := ofPrefix(f)
		if got, err := whole(t.Context(), r); err != nil || got != "one first" {
			t.Fatalf("%q, %v", got, err)
		}
		c.step(f.objects)
		got, err := whole(t.Context(), r)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.says)
		}
	}
}

func TestObjectThatIsReplacedDuringALoadIsNotOfIt(t *testing.T) {
	t.Parallel()
	f := policy(t)
	r := ofPrefix(f)
	_, open, err := r.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.objects["teams/a.yaml"] = "other"
	seal(t, f.objects, "main.yaml", "teams/a.yaml") // a whole upload, but not the one that is being loaded
	if data, err := open("s3:/bucket/dir/teams/a.yaml"); !errors.Is(err, manifest.ErrDiffers) || data != nil {
		t.Errorf("%q, %v", data, err)
	}
	if got, err := whole(t.Context(), r); err != nil || got != "one other" {
		t.Errorf("the next load: %q, %v", got, err)
	}
}

func TestFilesOfAFolderAreThoseThatItsManifestNamesAndNoOthers(t *testing.T) {
	t.Parallel()
	f := policy(t)
	_, open, err := ofPrefix(f).Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.reads = nil
	for _, path := range []string{"other.yaml", manifest.Name, "../other.yaml", "../../bucket2/a", "teams/../../dir2/a", "teams", ""} {
		if data, err := open(filepath.Join("s3:/bucket/dir", path)); err == nil {
			t.Errorf("%s: %q", path, data)
		}
	}
	if len(f.reads) > 0 {
		t.Errorf("asked for %q", f.reads)
	}
}

// A version below a folder of its own is not written over by the next one, so that a task
// that starts during an upload finds the one before whole.
func TestPolicyMayLieBelowTheFolderOfItsManifest(t *testing.T) {
	t.Parallel()
	f := &folder{objects: map[string]string{"v1/main.yaml": "one", "v1/teams/a.yaml": "first"}}
	seal(t, f.objects, "v1/main.yaml", "v1/teams/a.yaml")
	r := ofPrefix(f)
	f.objects["v2/main.yaml"], f.objects["v2/teams/a.yaml"] = "two", "second"
	if got, err := whole(t.Context(), r); err != nil || got != "one first" || r.Name() != "s3://bucket/dir/v1/main.yaml" {
		t.Errorf("during an upload: %q of %s, %v", got, r.Name(), err)
	}
	seal(t, f.objects, "v2/main.yaml", "v2/teams/a.yaml")
	if got, err := whole(t.Context(), r); err != nil || got != "two second" || r.Name() != "s3://bucket/dir/v2/main.yaml" {
		t.Errorf("behind it: %q of %s, %v", got, r.Name(), err)
	}
}

// follow runs a Remote of a folder in a bubble with steps, and returns how often each was
// told, over six polls. What is told leads to a load.
func follow(t *testing.T, f *folder, steps ...func()) (told []int, last string, lastErr error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := ofPrefix(f)
		load := func() { last, lastErr = whole(t.Context(), r) }
		load()
		ctx, cancel := context.WithCancel(t.Context())
		n, done := 0, make(chan struct{})
		go func() { defer close(done); r.Run(ctx, func() { n++; load() }) }()
		time.Sleep(500 * time.Millisecond) // steps fall between polls
		for _, step := range steps {
			n = 0
			f.mu.Lock()
			step()
			f.reads = nil
			f.mu.Unlock()
			time.Sleep(6 * time.Second)
			synctest.Wait()
			told = append(told, n)
		}
		cancel()
		<-done
	})
	return told, last, lastErr
}

func TestManifestAloneSaysThatAFolderHasChanged(t *testing.T) {
	t.Parallel()
	f := policy(t)
	told, last, err := follow(t, f,
		func() {},
		func() { f.objects["main.yaml"] = "two" },
		func() { f.objects["teams/a.yaml"] = "second" },
		func() { seal(t, f.objects, "main.yaml", "teams/a.yaml") },
	)
	if !slices.Equal(told, []int{0, 0, 0, 1}) || last != "two second" || err != nil {
		t.Errorf("told %v, %q, %v", told, last, err)
	}
	for _, read := range f.reads[len(f.reads)-2:] {
		if !strings.HasPrefix(read, manifest.Name+" tag of ") {
			t.Errorf("a poll asks for %q", read)
		}
	}
}

// An upload in the wrong order is loaded once it is whole, and told once as what it is.
func TestFileThatComesBehindItsManifestIsLoaded(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(map[string]string){
		"an older one":  func(map[string]string) {},
		"a larger one":  func(o map[string]string) { o["teams/a.yaml"] = "a longer one than the next" },
		"none":          func(o map[string]string) { delete(o, "teams/a.yaml") },
		"a shorter one": func(o map[string]string) { o["teams/a.yaml"] = "1" },
	} {
		f := policy(t)
		told, last, err := follow(t, f,
			func() {
				before(f.objects)
				later := maps.Clone(f.objects)
				later["teams/a.yaml"] = "second"
				seal(t, later, "main.yaml", "teams/a.yaml")
				f.objects[manifest.Name] = later[manifest.Name]
			},
			func() { f.objects["teams/a.yaml"] = "second" },
		)
		if !slices.Equal(told, []int{1, 1}) || last != "one second" || err != nil {
			t.Errorf("%s: told %v, %q, %v", name, told, last, err)
		}
	}
}

func TestPrefixOfS3IsAFolder(t *testing.T) {
	t.Setenv("AWS_REGION", "eu-west-1")
	for name, want := range map[string]string{"s3://b/dir/": "s3://b/dir/manifest.json", "s3://b/a/b/": "s3://b/a/b/manifest.json", "s3://b/dir": ""} {
		r, err := NewRemote(t.Context(), name, RemoteOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Snapshot() != (want != "") || want != "" && r.Name() != want {
			t.Errorf("%s: %v, %s", name, r.Snapshot(), r.Name())
		}
	}
}
