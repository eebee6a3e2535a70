package release

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/source/manifest"
)

const (
	main = "version: 1\ninclude:\n  - {file: teams/a.yaml, functions: [a], may: {ports: [443]}}\n"
	team = "sets: {own: {file: list.txt}}\nfunctions: {a: {identify: {sources: [10.0.2.0/24]}, allow: [{set: own}]}}\n"
)

// fill writes files below a new folder.
func fill(t *testing.T, files map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	for path, text := range files {
		path = filepath.Join(folder, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// written returns the manifest of a folder as text, "" where there is none.
func written(t *testing.T, folder string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(folder, manifest.Name))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(data)
}

func TestManifestNamesWhatThePolicyReadsAndNothingElse(t *testing.T) {
	t.Parallel()
	for _, below := range []string{"", "v42/"} {
		files := map[string]string{below + "egress.yaml": main, below + "teams/a.yaml": team, below + "teams/list.txt": "one.test\n"}
		folder := fill(t, files)
		if err := os.WriteFile(filepath.Join(folder, "README.md"), []byte("not of it"), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second replaces the first
			if n, err := Write(folder, below+"egress.yaml"); n != len(files) || err != nil {
				t.Fatalf("%d files, %v", n, err)
			}
		}
		m, err := manifest.Parse([]byte(written(t, folder)))
		if err != nil || m.Len() != len(files) || m.Main != below+"egress.yaml" {
			t.Fatalf("%+v, %v", m, err)
		}
		for path, text := range files {
			f, err := m.File(path)
			if err == nil {
				err = f.Check([]byte(text))
			}
			if err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
		if all, err := os.ReadDir(folder); err != nil || len(all) > 5 || strings.Contains(all[0].Name(), ".next") {
			t.Errorf("%v, %v", all, err)
		}
	}
}

func TestPolicyThatIsNotGoodGetsNoManifest(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "outside.txt")
	if err := os.WriteFile(outside, []byte("one.test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(folder string) error
		want   string
	}{
		"a mistake": {func(f string) error {
			return os.WriteFile(filepath.Join(f, "teams/list.txt"), []byte("*.com\n"), 0o600)
		}, "teams/list.txt:1: "},
		"a file less":  {func(f string) error { return os.Remove(filepath.Join(f, "teams/list.txt")) }, "teams/a.yaml:1: "},
		"no policy":    {func(f string) error { return os.Remove(filepath.Join(f, "egress.yaml")) }, "reading the policy: "},
		"a link out":   {func(f string) error { return swap(filepath.Join(f, "teams/list.txt"), outside) }, "escapes"},
		"no folder":    {os.RemoveAll, "opening the folder: "},
		"a way out":    {func(f string) error { return outOf(f, "../list.txt") }, "escapes"},
		"the manifest": {func(f string) error { return outOf(f, manifest.Name) }, "is the manifest itself"},
	} {
		folder := fill(t, map[string]string{"egress.yaml": main, "teams/a.yaml": team, "teams/list.txt": "one.test\n"})
		if _, err := Write(folder, "egress.yaml"); err != nil {
			t.Fatal(err)
		}
		before := written(t, folder)
		if err := c.change(folder); err != nil {
			t.Fatal(err)
		}
		if _, err := Write(folder, "egress.yaml"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if name != "no folder" && written(t, folder) != before {
			t.Errorf("%s: the manifest is another one", name)
		}
	}
}

// swap puts a link in the place of a file.
func swap(path, to string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return os.Symlink(to, path)
}

// outOf has the policy itself name the file of a set, below or outside of its folder.
func outOf(folder, list string) error {
	return os.WriteFile(filepath.Join(folder, "egress.yaml"), []byte(main+"sets: {x: {file: "+list+"}}\n"), 0o600)
}

// What the machine has is not uploaded.
func TestFilesOfTheMachineAreNotInTheManifest(t *testing.T) {
	t.Parallel()
	list := filepath.Join(t.TempDir(), "list.txt")
	if err := os.WriteFile(list, []byte("one.test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	folder := fill(t, map[string]string{"teams/a.yaml": team, "teams/list.txt": "one.test\n", "egress.yaml": main + "sets: {x: {file: " + list + "}}\n"})
	if n, err := Write(folder, "egress.yaml"); n != 3 || err != nil || strings.Contains(written(t, folder), list) {
		t.Errorf("%d files, %v:\n%s", n, err, written(t, folder))
	}
}
