package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// files are those of a policy in memory, by their paths; egress.yaml is the policy.
type files map[string]string

// parse parses the policy.
func (f files) parse() (*Config, error) {
	return Parse("egress.yaml", []byte(f["egress.yaml"]), func(path string) ([]byte, error) {
		if text, ok := f[path]; ok && text != denied {
			return []byte(text), nil
		} else if ok {
			return nil, fs.ErrPermission
		}
		return nil, fs.ErrNotExist
	})
}

// denied is a file that may not be read.
const denied = "denied"

const (
	ident    = "identify: {sources: [10.0.%d.0/24]}"
	everyMay = "{ports: [1-65535], wildcards: true, shared_suffix: true, addresses: true, cidr: true, tls_any: true, report: true, plain_http: true}"
)

// including is a policy that includes t/a.yaml under those keys.
func including(keys string) string {
	return "version: 1\nsets: {main: [m.test], wide: [\"*.wide.test\"], rented: [\"*.github.io\"], odd: {hosts: [p.test], ports: [8443]}, plain: {hosts: [p.test], ports: [80]}}\ninclude:\n  - {file: t/a.yaml, functions: [\"a-*\"], " + keys + "}\n"
}

// function is one of an included file.
func function(name string, net int, rules string) string {
	return name + ": {" + fmt.Sprintf(ident, net) + ", allow: [" + rules + "]}"
}

func TestIncludedFilesAndTheConfigurationAreOnePolicy(t *testing.T) {
	f := files{
		"egress.yaml": "version: 1\nsets: {main: [m.test]}\nfunctions: {" + function("x", 1, "x.test") + "}\n" +
			"include:\n  - {file: t/a.yaml, functions: [\"a-*\"], owner: team-a, may: {ports: [443]}}\n  - {file: b.yaml, functions: [b, c], may: " + everyMay + "}\n",
		"t/a.yaml":   "sets: {own: {file: list.txt}}\nfunctions:\n  " + function("a-1", 2, "{set: own}, {set: main}") + "\n",
		"t/list.txt": "one.test\n", "b.yaml": "functions: {b: {owner: somebody, " + fmt.Sprintf(ident, 3) + ", allow: []}}\n",
	}
	cfg, err := f.parse()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, fn := range cfg.Functions {
		got = append(got, fmt.Sprintf("%s %q %s:%d", fn.Name, fn.Owner, fn.File, fn.Line))
	}
	if want := []string{`x "" :3`, `a-1 "team-a" t/a.yaml:3`, `b "somebody" b.yaml:1`}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if rules := cfg.Functions[1].Allow; len(rules) != 2 || cfg.Sets[rules[0].Set-1].Patterns[0].String() != "one.test" || cfg.Sets[rules[1].Set-1].Name != "main" {
		t.Errorf("the rules of a-1 are %+v", rules)
	}
	seen := map[string]string{cfg.Hash(): "itself"}
	for name, text := range f {
		other := maps.Clone(f)
		other[name] = text + "# more\n"
		if c, err := other.parse(); err != nil || seen[c.Hash()] != "" {
			t.Errorf("%s is another, and the hash is that of %q, %v", name, seen[c.Hash()], err)
		} else {
			seen[c.Hash()] = name
		}
	}
}

// What goes from the end of one file to the begin of the next is another policy.
func TestTheHashSaysWhichFileHasWhat(t *testing.T) {
	at := func(a, b string) string {
		cfg, err := files{
			"egress.yaml": "version: 1\ninclude: [{file: a.yaml, functions: [a], may: {}}, {file: b.yaml, functions: [b], may: {}}]\n",
			"a.yaml":      "functions: {" + function("a", 1, "") + "}\n" + a, "b.yaml": b + "functions: {" + function("b", 2, "") + "}\n",
		}.parse()
		if err != nil {
			t.Fatal(err)
		}
		return cfg.Hash()
	}
	if at("# x\n", "") == at("", "# x\n") {
		t.Error("they have one hash")
	}
}

func TestAnIncludeThatIsWrongIsAnErrorWithItsPlace(t *testing.T) {
	good := "functions: {" + function("a-1", 1, "") + "}\n"
	for sentence, c := range map[string]struct {
		files files
		want  string
	}{
		"a cycle to itself":           {files{"egress.yaml": "version: 1\ninclude: [{file: egress.yaml, functions: [a], may: {}}]\n"}, "egress.yaml:2: include[0].file: it is this file itself; leave it out"},
		"a file twice":                {files{"egress.yaml": including("") + "  - {file: t/a.yaml, functions: [b]}\n", "t/a.yaml": good}, `egress.yaml:5: include[1].file: "t/a.yaml" is included on line 4 already; keep one of the two`},
		"a nested include":            {files{"egress.yaml": including(""), "t/a.yaml": "include: []\n" + good}, "t/a.yaml:1: include: no such key; "},
		"a cycle of two":              {files{"egress.yaml": including(""), "t/a.yaml": "include: [{file: ../egress.yaml}]\n" + good}, "t/a.yaml:1: include: no such key; "},
		"a deny list":                 {files{"egress.yaml": including(""), "t/a.yaml": "deny: []\n" + good}, "t/a.yaml:1: deny: no such key; "},
		"a version":                   {files{"egress.yaml": including(""), "t/a.yaml": "version: 1\n" + good}, "t/a.yaml:1: version: no such key; "},
		"settings":                    {files{"egress.yaml": including(""), "t/a.yaml": "limits: {tunnels: 1}\n" + good}, "t/a.yaml:1: limits: no such key; "},
		"above the folder":            {files{"egress.yaml": "version: 1\ninclude:\n - {file: ../a.yaml, functions: [a]}\n"}, `egress.yaml:3: include[0].file: "../a.yaml" is not below the folder of this file; `},
		"above it in the middle":      {files{"egress.yaml": "version: 1\ninclude:\n - {file: t/../../a.yaml, functions: [a]}\n"}, `egress.yaml:3: include[0].file: "t/../../a.yaml" is not below the folder of this file; `},
		"an absolute path":            {files{"egress.yaml": "version: 1\ninclude:\n - {file: /etc/a.yaml, functions: [a]}\n"}, `egress.yaml:3: include[0].file: "/etc/a.yaml" is not below the folder of this file; `},
		"another bucket":              {files{"egress.yaml": "version: 1\ninclude:\n - {file: 's3://b/a.yaml', functions: [a]}\n"}, `egress.yaml:3: include[0].file: "s3://b/a.yaml" is not below the folder of this file; `},
		"a detour":                    {files{"egress.yaml": "version: 1\ninclude:\n - {file: ./t//a.yaml, functions: [a]}\n"}, `egress.yaml:3: include[0].file: "./t//a.yaml" is a path with detours; write "t/a.yaml"`},
		"a folder":                    {files{"egress.yaml": "version: 1\ninclude:\n - {file: ., functions: [a]}\n"}, `egress.yaml:3: include[0].file: "." is not below the folder of this file; `},
		"no file":                     {files{"egress.yaml": "version: 1\ninclude:\n - {functions: [a]}\n"}, `egress.yaml:3: include[0]: the key "file" is missing; `},
		"no path":                     {files{"egress.yaml": "version: 1\ninclude:\n - {file: '', functions: [a]}\n"}, `egress.yaml:3: include[0].file: it is empty; `},
		"no names":                    {files{"egress.yaml": "version: 1\ninclude:\n - {file: a.yaml}\n"}, `egress.yaml:3: include[0]: the key "functions" is missing; `},
		"no name":                     {files{"egress.yaml": "version: 1\ninclude:\n - {file: a.yaml, functions: []}\n"}, `egress.yaml:3: include[0].functions: the file may define nothing; `},
		"a name that is none":         {files{"egress.yaml": "version: 1\ninclude:\n - {file: a.yaml, functions: ['a[b]']}\n"}, `egress.yaml:3: include[0].functions[0]: "a[b]" fits no name of a function; `},
		"an owner that is none":       {files{"egress.yaml": including("owner: ''"), "t/a.yaml": good}, "egress.yaml:4: include[0].owner: it is empty; "},
		"an unknown key":              {files{"egress.yaml": including("may: {port: [443]}"), "t/a.yaml": good}, `egress.yaml:4: include[0].may.port: no such key; did you mean "ports"?`},
		"a port that is none":         {files{"egress.yaml": including("may: {ports: [0]}"), "t/a.yaml": good}, `egress.yaml:4: include[0].may.ports[0]: 0 is not within 1-65535; `},
		"a file that is not there":    {files{"egress.yaml": including("")}, `egress.yaml:4: include[0].file: "t/a.yaml" cannot be read (file does not exist); `},
		"a file that may not be read": {files{"egress.yaml": including(""), "t/a.yaml": denied}, `egress.yaml:4: include[0].file: "t/a.yaml" cannot be read (permission denied); `},
		"a list that may not be read": {files{"egress.yaml": including(""), "t/a.yaml": "sets: {s: {file: l.txt}}\n" + good, "t/l.txt": denied}, `t/a.yaml:1: sets.s.file: "l.txt" cannot be read (permission denied); `},
		"an empty file":               {files{"egress.yaml": including(""), "t/a.yaml": "# nothing\n"}, "t/a.yaml:1: file: it is empty; write functions"},
		"a file without functions":    {files{"egress.yaml": including(""), "t/a.yaml": "sets: {}\n"}, `t/a.yaml:1: file: the key "functions" is missing; `},
		"a file that is not YAML":     {files{"egress.yaml": including(""), "t/a.yaml": "functions: {\n"}, "t/a.yaml:1: file: "},
		"a second document":           {files{"egress.yaml": including(""), "t/a.yaml": good + "---\n" + good}, "t/a.yaml:2: file: a second document begins here; "},
		"a byte order mark":           {files{"egress.yaml": including(""), "t/a.yaml": "\xef\xbb\xbf" + good}, "t/a.yaml:1: file: it begins with a byte order mark; "},
		"a name that it may not have": {files{"egress.yaml": including(""), "t/a.yaml": "functions:\n  " + function("b-1", 1, "") + "\n"}, "t/a.yaml:2: functions.b-1: egress.yaml:4 lets this file define a-* alone; "},
		"an owner twice": {files{"egress.yaml": including("owner: team-a"), "t/a.yaml": "functions:\n  a-1:\n    owner: me\n    " + fmt.Sprintf(ident, 1) + "\n    allow: []\n"},
			`t/a.yaml:3: functions.a-1.owner: egress.yaml:4 says whose it is, "team-a"; leave it out`},
		"one function of two files": {files{"egress.yaml": including("") + "  - {file: t/b.yaml, functions: ['*']}\n", "t/a.yaml": good, "t/b.yaml": "functions:\n  " + function("a-1", 2, "") + "\n"},
			"t/b.yaml:2: functions.a-1: t/a.yaml:1 has a function of this name; write another one"},
		"one function here and there": {files{"egress.yaml": including("") + "functions: {" + function("a-1", 2, "") + "}\n", "t/a.yaml": good}, "t/a.yaml:1: functions.a-1: egress.yaml:5 has a function of this name; write another one"},
		"one set of two files": {files{"egress.yaml": including("") + "  - {file: t/b.yaml, functions: [b]}\n", "t/a.yaml": "sets: {s: []}\n" + good, "t/b.yaml": "sets:\n  s: []\nfunctions: {" + function("b", 2, "") + "}\n"},
			"t/b.yaml:2: sets.s: t/a.yaml:1 has a set of this name; write another one"},
		"a set of the configuration": {files{"egress.yaml": including(""), "t/a.yaml": "sets: {main: []}\n" + good}, "t/a.yaml:1: sets.main: egress.yaml:2 has a set of this name; "},
		"another file's set": {files{"egress.yaml": including("may: {ports: [443]}") + "  - {file: t/b.yaml, functions: [b], may: {ports: [443]}}\n", "t/a.yaml": "sets: {s: [s.test]}\n" + good, "t/b.yaml": "functions:\n  " + function("b", 2, "{set: s}") + "\n"},
			`t/b.yaml:2: functions.b.allow[0].set: there is no set "s"; `},
		"one caller of two files": {files{"egress.yaml": including("") + "  - {file: t/b.yaml, functions: [b]}\n", "t/a.yaml": good, "t/b.yaml": "functions:\n  " + function("b", 1, "") + "\n"},
			"t/b.yaml:2: functions.b.identify.sources[0]: functions.a-1 has this range; "},
		"a list above the file's folder": {files{"egress.yaml": including(""), "t/a.yaml": "sets: {s: {file: ../list.txt}}\n" + good, "list.txt": "a.test\n"}, `t/a.yaml:1: sets.s.file: "../list.txt" is not below the folder of this file; `},
		"a list at an absolute path":     {files{"egress.yaml": including(""), "t/a.yaml": "sets: {s: {file: /etc/passwd}}\n" + good, "/etc/passwd": "a.test\n"}, `t/a.yaml:1: sets.s.file: "/etc/passwd" is not below the folder of this file; `},
		"10,000 files":                   {files{"egress.yaml": "version: 1\ninclude:\n" + strings.Repeat("  - {file: a.yaml, functions: [a]}\n", 10_000)}, "egress.yaml:2: include: it has 10000 files; write 1000 at most"},
		"no functions at all":            {files{"egress.yaml": "version: 1\ninclude: []\n"}, "egress.yaml:2: include: there is no file; write one, or leave the key out"},
	} {
		cfg, err := c.files.parse()
		if cfg != nil || err == nil || !slices.ContainsFunc(strings.Split(err.Error(), "\n"), func(line string) bool { return strings.HasPrefix(line, c.want) }) {
			t.Errorf("%s: %v\nwant %s", sentence, err, c.want)
		}
	}
}

// A folder of the system under test, with links in it.
func TestALinkMayNotLeadOutOfTheFolder(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(at("policy/t"), 0o700))
	must(os.MkdirAll(at("outside"), 0o700))
	text := "functions: {" + function("a-1", 1, "") + "}\n"
	must(os.WriteFile(at("outside/a.yaml"), []byte(text), 0o600))
	must(os.WriteFile(at("outside/list.txt"), []byte("a.test\n"), 0o600))
	must(os.WriteFile(at("policy/egress.yaml"), []byte(including("")), 0o600))
	check := func(what, want string) {
		t.Helper()
		if _, err := Load(at("policy/egress.yaml")); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
		must(os.RemoveAll(at("policy/t")))
		must(os.MkdirAll(at("policy/t"), 0o700))
	}
	must(os.Symlink("../../outside/a.yaml", at("policy/t/a.yaml")))
	check("a link out", `egress.yaml:4: include[0].file: "t/a.yaml" leads out of the folder of the policy by a link`)
	must(os.Symlink(at("outside/a.yaml"), at("policy/t/a.yaml")))
	check("an absolute link out", `leads out of the folder of the policy by a link`)
	must(os.Remove(at("policy/t")))
	must(os.Symlink("../outside", at("policy/t")))
	check("a folder that is a link out", `leads out of the folder of the policy by a link`)
	must(os.Symlink("list.txt", at("policy/t/a.yaml")))
	check("a link to nothing", `"t/a.yaml" cannot be read (no such file or directory)`)
	must(os.WriteFile(at("policy/t/a.yaml"), []byte("sets: {s: {file: list.txt}}\n"+text), 0o600))
	must(os.Symlink("../../outside/list.txt", at("policy/t/list.txt")))
	check("a list by a link out", `t/a.yaml:1: sets.s.file: "t/list.txt" leads out of the folder of the policy by a link`)
	// As Kubernetes mounts a folder.
	must(os.WriteFile(at("policy/t/..data"), []byte(text), 0o600))
	must(os.Symlink("..data", at("policy/t/a.yaml")))
	check("a link within", "")
}

func TestEachIncludedFileIsWatched(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"egress.yaml": including(""), "a.yaml": "sets: {s: {file: list.txt}}\nfunctions: {" + function("a-1", 1, "") + "}\n", "list.txt": "a.test\n",
	} {
		if name != "egress.yaml" {
			name = "t/" + name
		}
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, "t"), 0o700), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	var read []string
	if _, err := LoadWatched(filepath.Join(dir, "egress.yaml"), func(path string) { read = append(read, strings.TrimPrefix(path, dir)) }); err != nil {
		t.Fatal(err)
	}
	if want := []string{"/egress.yaml", "/t/a.yaml", "/t/list.txt"}; !slices.Equal(read, want) {
		t.Errorf("%q are watched, want %q", read, want)
	}
}

// A name that is no path is an object, beside which another may be half uploaded.
func TestFilesAreIncludedOnlyWhereTheyBelongTogether(t *testing.T) {
	text := []byte("version: 1\ninclude:\n  - {file: a.yaml, functions: [a], may: {ports: [443]}}\n")
	opened := 0
	open := func(string) ([]byte, error) {
		opened++
		return []byte("functions: {" + function("a", 2, "x.test") + "}\n"), nil
	}
	for _, name := range []string{"s3://b/dir/egress.yaml", "https://config.example/egress.yaml"} {
		_, err := Parse(name, text, open)
		if want := name + ":2: include: nothing says that the files beside one object belong together"; err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "s3://BUCKET/PREFIX/") {
			t.Errorf("%s: %v", name, err)
		}
		if opened > 0 {
			t.Errorf("%s: a file was read", name)
		}
		if cfg, err := ParseSnapshot(name, text, open); err != nil || len(cfg.Functions) != 1 || cfg.Functions[0].File != "a.yaml" {
			t.Errorf("%s: as a snapshot: %v", name, err)
		}
		opened = 0
	}
	if _, err := Parse("egress.yaml", text, open); err != nil {
		t.Errorf("a file: %v", err)
	}
}

// As many files as may be are one policy; ten times as many are refused, and none is read.
func TestAThousandFilesAreIncludedAndNoneOfTenThousand(t *testing.T) {
	t.Parallel()
	load := func(n int) (functions, opened int, err error) {
		text := "version: 1\ninclude:\n"
		f := files{}
		for i := range n {
			text += fmt.Sprintf("  - {file: t/%d.yaml, functions: [f%d], may: {ports: [443]}}\n", i, i)
			f[fmt.Sprintf("t/%d.yaml", i)] = fmt.Sprintf("functions: {f%d: {identify: {sources: [10.%d.%d.0/24]}, allow: [x.test]}}\n", i, i>>8&255, i&255)
		}
		cfg, err := Parse("egress.yaml", []byte(text), func(path string) ([]byte, error) {
			opened++
			return []byte(f[path]), nil
		})
		if cfg != nil {
			functions = len(cfg.Functions)
		}
		return functions, opened, err
	}
	if functions, opened, err := load(1000); err != nil || functions != 1000 || opened != 1000 {
		t.Errorf("1,000: %d functions, %d files read, %v", functions, opened, err)
	}
	if functions, opened, err := load(10_000); err == nil || functions != 0 || opened != 0 || !strings.Contains(err.Error(), "it has 10000 files; write 1000 at most") {
		t.Errorf("10,000: %d functions, %d files read, %v", functions, opened, err)
	}
}
