package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// sum is a SHA-256 that nothing has.
var sum = strings.Repeat("ab", 32)

// entry writes a file as a manifest has it.
func entry(path string, size int) string {
	return fmt.Sprintf(`{"path": %q, "sha256": %q, "size": %d}`, path, sum, size)
}

// naming writes a manifest with main.yaml and these entries.
func naming(entries ...string) string {
	return `{"version": 1, "main": "main.yaml", "files": [` + strings.Join(append([]string{entry("main.yaml", 1)}, entries...), ", ") + `]}`
}

func TestManifestIsReadStrictly(t *testing.T) {
	t.Parallel()
	many := make([]string, MaxFiles)
	for i := range many {
		many[i] = entry(fmt.Sprint(i), 0)
	}
	large := slices.Repeat([]string{""}, MaxTotal/MaxFile)
	for i := range large {
		large[i] = entry(fmt.Sprint(i), MaxFile)
	}
	for text, want := range map[string]string{
		"":                            "unexpected EOF",
		"{":                           "unexpected EOF",
		"[]":                          "there is [ where { should be",
		"{}":                          "it lacks files, main, version",
		naming()[:40]:                 "unexpected EOF",
		naming() + "{}":               "something stands behind its end",
		naming(entry("main.yaml", 1)): `"main.yaml" is named twice`,
		strings.Replace(naming(), `: 1,`, `: 2,`, 1):                         "version 2 is not known",
		strings.Replace(naming(), `: 1,`, `: "1",`, 1):                       "version: ",
		strings.Replace(naming(), `"main":`, `"main": "a", "main":`, 1):      `"main" is there twice`,
		strings.Replace(naming(), `"main":`, `"Main":`, 1):                   `"Main" is not known`,
		strings.Replace(naming(), `"main":`, `"m": 1, "main":`, 1):           `"m" is not known`,
		strings.Replace(naming(), `"main.yaml", "files"`, `"b", "files"`, 1): "its main file: b: manifest.json does not name it",
		strings.Replace(naming(), sum, strings.ToUpper(sum), 1):              "is no SHA-256",
		strings.Replace(naming(), sum, sum[2:], 1):                           "is no SHA-256",
		strings.Replace(naming(), `, "size": 1`, ``, 1):                      "it lacks size",
		naming(entry("../out.yaml", 1)):                                      "no path below the folder",
		naming(entry("teams/../../out.yaml", 1)):                             "no path below the folder",
		naming(entry("/etc/passwd", 1)):                                      "no path below the folder",
		naming(entry("teams//a.yaml", 1)):                                    "no path below the folder",
		naming(entry("./a.yaml", 1)):                                         "no path below the folder",
		naming(entry("teams/", 1)):                                           "no path below the folder",
		naming(entry(`teams\a.yaml`, 1)):                                     "no path below the folder",
		naming(entry("a\nb", 1)):                                             "no path below the folder",
		naming(entry(".", 1)):                                                "no path below the folder",
		naming(entry("", 1)):                                                 "a path has 1 to 512 bytes",
		naming(entry(strings.Repeat("a", 513), 1)):                           "a path has 1 to 512 bytes",
		naming(entry(Name, 1)):                                               "is the manifest itself",
		naming(entry("a", -1)):                                               "has -1 bytes",
		naming(entry("a", MaxFile+1)):                                        "a file has 64 MiB at most",
		naming(many...):                                                      "more than 5000 files",
		naming(large...):                                                     "more than 1024 MiB together",
		naming() + strings.Repeat(" ", MaxBytes):                             "larger than 4 MiB",
	} {
		if m, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) || m != nil {
			t.Errorf("%.60s: %v, %v, want %q", text, m, err, want)
		}
	}
}

// The largest manifest that may be is one that can be read.
func TestManifestThatIsWrittenIsReadAsItWas(t *testing.T) {
	t.Parallel()
	m := &Manifest{Main: "teams/ü \"1\".yaml"}
	for i := range MaxFiles - 1 {
		if err := m.Add(Of(fmt.Sprint("a/", i), fmt.Append(nil, i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Add(Of(m.Main, []byte("text"))); err != nil {
		t.Fatal(err)
	}
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(data)
	if err != nil || got.Main != m.Main || !slices.Equal(got.order, m.order) {
		t.Errorf("%d files, main %s, %v", len(got.order), got.Main, err)
	}
	if _, err := (&Manifest{Main: "a"}).Encode(); !errors.Is(err, ErrNotNamed) {
		t.Errorf("a manifest that does not name its main file: %v", err)
	}
}

func TestFileIsTheOneThatIsNamedToTheByte(t *testing.T) {
	t.Parallel()
	f := Of("a.yaml", []byte("text"))
	for _, other := range []string{"", "tex", "texts", "tExt"} {
		if err := f.Check([]byte(other)); !errors.Is(err, ErrDiffers) || !strings.HasPrefix(err.Error(), "a.yaml ") {
			t.Errorf("%q: %v", other, err)
		}
	}
	if err := f.Check([]byte("text")); err != nil {
		t.Error(err)
	}
	if _, err := (&Manifest{}).File("a.yaml"); !errors.Is(err, ErrNotNamed) {
		t.Errorf("the zero manifest: %v", err)
	}
}
