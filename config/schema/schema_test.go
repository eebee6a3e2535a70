package schema_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/schema"
)

// compiled compiles both schemas as they are published.
func compiled(t *testing.T) (policy, team *jsonschema.Schema) {
	t.Helper()
	c := jsonschema.NewCompiler()
	var ids []string
	for _, text := range []string{schema.Policy, schema.Team} {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		id, _ := doc.(map[string]any)["$id"].(string)
		if err := c.AddResource(id, doc); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return c.MustCompile(ids[0]), c.MustCompile(ids[1])
}

// value is a YAML file as editors hold it against a schema: YAML 1.2, in which a day is text.
func value(t *testing.T, data []byte) any {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal(data, &n); err != nil {
		t.Fatal(err)
	}
	return plain(t, n.Content[0])
}

func plain(t *testing.T, n *yaml.Node) any {
	t.Helper()
	switch {
	case n.Kind == yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			m[n.Content[i].Value] = plain(t, n.Content[i+1])
		}
		return m
	case n.Kind == yaml.SequenceNode:
		all := []any{}
		for _, item := range n.Content {
			all = append(all, plain(t, item))
		}
		return all
	case n.Kind == yaml.AliasNode:
		return plain(t, n.Alias)
	case n.Tag == "!!int" || n.Tag == "!!float":
		return json.Number(n.Value)
	case n.Tag == "!!bool":
		return n.Value == "true"
	case n.Tag == "!!null":
		return nil
	}
	return n.Value
}

func TestGoodPoliciesAreValidUnderTheSchema(t *testing.T) {
	t.Parallel()
	policy, team := compiled(t)
	for name, s := range map[string]*jsonschema.Schema{
		"../quickstart.yaml": policy, "../testdata/good/full.yaml": policy, "../testdata/good/teams/payments.yaml": team,
	} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(value(t, data)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What the documents show, and what is shipped as an example, is valid under the schema too.
func TestPoliciesOfDocumentsAreValidUnderTheSchema(t *testing.T) {
	t.Parallel()
	policy, _ := compiled(t)
	fence := regexp.MustCompile("(?ms)^ *```yaml *\n(.*?)^ *```")
	checked := 0
	check := func(name string, data []byte) {
		checked++
		if err := policy.Validate(value(t, data)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := filepath.WalkDir("../..", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata" || d.Name() == "node_modules"):
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(name) != ".md" && filepath.Ext(name) != ".yaml":
			return nil
		}
		data, err := os.ReadFile(name)
		if strings.HasSuffix(name, ".md") {
			for _, m := range fence.FindAllSubmatch(data, -1) {
				check(name, m[1])
			}
		} else if regexp.MustCompile(`^(#.*\n|\s*\n)*version: *1 *\n`).Match(data) {
			check(name, data)
		}
		return err
	})
	if err != nil || checked < 5 {
		t.Errorf("%v; %d policies: the test says little", err, checked)
	}
}

// What a schema cannot know is left to check: files, certificates, names of sets, conflicts.
func TestBadPoliciesAreNotValidUnderTheSchema(t *testing.T) {
	t.Parallel()
	policy, _ := compiled(t)
	for _, name := range []string{
		"addresses-without-host", "audit-output-empty", "aws-empty", "aws-incomplete", "certificate-names", "dates", "empty-mapping", "enums", "function-incomplete", "function-names",
		"limits", "limits-sizes", "list-on-top", "no-functions", "null", "patterns", "patterns-deny", "ports", "report-until-without-report", "report-without-end", "rule-kinds",
		"set-name", "six-mistakes", "tls-incomplete", "tokens", "unknown-key", "unknown-rule-key", "version-other", "version-text", "wrong-types",
	} {
		data, err := os.ReadFile("../testdata/bad/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		if policy.Validate(value(t, data)) == nil {
			t.Errorf("%s is valid", name)
		}
	}
}

// What the parser takes for a value the schema takes too, and so it is for what neither takes.
func TestValuesAreThoseOfTheParser(t *testing.T) {
	t.Parallel()
	policy, _ := compiled(t)
	const f = "version: 1\nfunctions: {a: {identify: {sources: [10.0.0.0/8]}, allow: [%s]}}\n"
	for doc, good := range map[string]bool{
		fmt.Sprintf(f, "a.example"):                                                           true,
		fmt.Sprintf(f, `"*.a.example", .b.example, Bücher.example`):                           true,
		fmt.Sprintf(f, `"*"`):                                                                 false,
		fmt.Sprintf(f, `"a.*.example"`):                                                       false,
		fmt.Sprintf(f, "a.example:443"):                                                       false,
		fmt.Sprintf(f, "https://a.example/"):                                                  false,
		fmt.Sprintf(f, "{host: a.example, ports: [443, 8000-8010]}"):                          true,
		fmt.Sprintf(f, "{host: a.example, ports: []}"):                                        false,
		fmt.Sprintf(f, "{host: a.example, ports: [0]}"):                                       false,
		fmt.Sprintf(f, "{host: a.example, ports: [65536]}"):                                   false,
		fmt.Sprintf(f, `{host: a.example, ports: ["443"]}`):                                   false,
		fmt.Sprintf(f, "{host: a.example, ticket: 12}"):                                       true,
		fmt.Sprintf(f, "{host: a.example, expires: 2999-01-31}"):                              true,
		fmt.Sprintf(f, "{host: a.example, expires: tomorrow}"):                                false,
		fmt.Sprintf(f, "{host: a.example, shared_suffix: yes}"):                               false,
		fmt.Sprintf(f, "{cidr: 203.0.113.0/24, tls: any}"):                                    true,
		fmt.Sprintf(f, "{cidr: 203.0.113.0/24, addresses: [10.0.0.0/8]}"):                     false,
		fmt.Sprintf(f, "{cidr: 203.0.113.0/24, shared_suffix: true}"):                         false,
		fmt.Sprintf(f, "{host: a.example, cidr: 203.0.113.0/24}"):                             false,
		fmt.Sprintf(f, "{ports: [443]}"):                                                      false,
		fmt.Sprintf(f, "{cidr: 203.0.113.0}"):                                                 false,
		fmt.Sprintf(f, "") + "limits: {drain: 1h30m}":                                         true,
		fmt.Sprintf(f, "") + "limits: {drain: .5s}":                                           true,
		fmt.Sprintf(f, "") + "limits: {drain: 30}":                                            false,
		fmt.Sprintf(f, "") + "limits: {tunnels: 0}":                                           false,
		fmt.Sprintf(f, "") + "limits: {header_bytes: 16384}":                                  true,
		fmt.Sprintf(f, "") + "limits: {header_bytes: 16 KiB}":                                 true,
		fmt.Sprintf(f, "") + "limits: {header_bytes: 16k}":                                    false,
		fmt.Sprintf(f, "") + "dns: {stale_for: 0s}":                                           true,
		fmt.Sprintf(f, "") + "dns: {max_aliases: 65}":                                         false,
		fmt.Sprintf(f, "") + `listen: {proxy: "[::1]:3128", dns: ""}`:                         true,
		fmt.Sprintf(f, "") + "listen: {proxy: 3128}":                                          false,
		fmt.Sprintf(f, "") + "tests: [{every: true, refuse: [\"b.example:1\"]}]":              true,
		fmt.Sprintf(f, "") + "tests: [{every: false, refuse: [\"b.example:1\"]}]":             false,
		fmt.Sprintf(f, "") + "tests: [{function: a, every: true, refuse: [\"b.example:1\"]}]": false,
		fmt.Sprintf(f, "") + "tests: [{function: a}]":                                         false,
		fmt.Sprintf(f, "") + "audit: {output: stderr}":                                        false,
		"version: 1\n": false,
	} {
		_, err := config.Parse("egress.yaml", []byte(doc), nil)
		if invalid := policy.Validate(value(t, []byte(doc))); (err == nil) != good || (invalid == nil) != good {
			t.Errorf("%s: parser: %v, schema: %v", doc, err, invalid)
		}
	}
}

// A file that has every default of the schema is the same as one that is silent.
func TestDefaultsOfTheSchemaAreThoseOfTheParser(t *testing.T) {
	t.Parallel()
	var policy map[string]any
	if err := json.Unmarshal([]byte(schema.Policy), &policy); err != nil {
		t.Fatal(err)
	}
	const function = "version: 1\nfunctions: {a: {identify: {sources: [10.0.0.0/8]}, allow: []}}\n"
	silent, err := config.Parse("egress.yaml", []byte(function), nil)
	if err != nil {
		t.Fatal(err)
	}
	explicit, found := function, map[string]int{}
	for _, part := range []string{"listen", "dns", "limits", "audit"} {
		defaults := map[string]any{}
		for key, p := range policy["properties"].(map[string]any)[part].(map[string]any)["properties"].(map[string]any) {
			if value, ok := p.(map[string]any)["default"]; ok {
				defaults[key] = value
				found[part]++
			}
		}
		text, err := json.Marshal(map[string]any{part: defaults})
		if err != nil {
			t.Fatal(err)
		}
		explicit += strings.Trim(strings.Replace(string(text), `":`, `": `, 1), "{}") + "}\n"
	}
	got, err := config.Parse("egress.yaml", []byte(explicit), nil)
	if err != nil {
		t.Fatal(err, explicit)
	}
	l := &got.Limits
	l.HasTunnels, l.HasTunnelsPerFunction, l.HasUnidentified = false, false, false
	if !reflect.DeepEqual(got.Listen, silent.Listen) || !reflect.DeepEqual(got.DNS, silent.DNS) || !reflect.DeepEqual(got.Limits, silent.Limits) || got.Audit != silent.Audit {
		t.Errorf("%+v\n%+v", got, silent)
	}
	if want := map[string]int{"listen": 2, "dns": 8, "limits": 11, "audit": 2}; !maps.Equal(found, want) {
		t.Errorf("defaults: %v, want %v", found, want)
	}
}

// place is an object of the format: where it stands, and the keys that the schema gives it.
type place struct {
	path []string // "[]" is an item of a list
	keys []string
}

// places walks a schema, and returns its objects with keys of their own.
func places(t *testing.T, root, at map[string]any, path []string) (all []place) {
	t.Helper()
	if len(path) > 12 {
		t.Fatal("the schema has no end")
	}
	if ref, ok := at["$ref"].(string); ok {
		_, name, _ := strings.Cut(ref, "#/$defs/")
		next, ok := root["$defs"].(map[string]any)[name].(map[string]any)
		if !ok {
			t.Fatalf("%s is not there", ref)
		}
		return places(t, root, next, path)
	}
	below := func(key, step string) {
		if next, ok := at[key].(map[string]any); ok {
			all = append(all, places(t, root, next, append(slices.Clone(path), step))...)
		}
	}
	if then, ok := at["then"].(map[string]any); ok && at["properties"] == nil {
		all = append(all, places(t, root, then, path)...)
	}
	below("items", "[]")
	below("additionalProperties", "111122223333") // which is a name of a function, a set and an account
	properties, ok := at["properties"].(map[string]any)
	if !ok {
		return all
	}
	p := place{path: path}
	for key, next := range properties {
		p.keys = append(p.keys, key)
		all = append(all, places(t, root, next.(map[string]any), append(slices.Clone(path), key))...)
	}
	return append(all, p)
}

// document is a file that has one key at a place.
func document(path []string, key string) string {
	text := `{"` + key + `": 1}`
	for _, step := range slices.Backward(path) {
		if step == "[]" {
			text = "[" + text + "]"
		} else {
			text = `{"` + step + `": ` + text + `}`
		}
	}
	return text
}

// unknown reports whether the parser says that there is no such key, in the file or in one that it includes.
func unknown(t *testing.T, doc, included, key string) bool {
	t.Helper()
	_, err := config.Parse("egress.yaml", []byte(doc), func(string) ([]byte, error) { return []byte(included), nil })
	problems := (*config.Error)(nil)
	if !errors.As(err, &problems) {
		t.Fatalf("%s: %v", doc, err)
	}
	return slices.ContainsFunc(problems.Problems, func(p config.Problem) bool {
		return strings.HasPrefix(p.Text, "no such key") && (p.Key == key || strings.HasSuffix(p.Key, "."+key))
	})
}

// words are all texts of the code that reads policies which look like keys, and so all of its keys.
func words(t *testing.T) (all []string) {
	t.Helper()
	form := regexp.MustCompile(`^[a-z][a-z_]*$`)
	read := func(name string) {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if s, _ := strconv.Unquote(lit.Value); form.MatchString(s) {
					all = append(all, s)
				}
			}
			return true
		})
	}
	for _, folder := range []string{"..", "../aws", "../include", "../policytest", "../settings", "../../internal/identity"} {
		files, err := filepath.Glob(folder + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if !strings.HasSuffix(name, "_test.go") {
				read(name)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func TestTheSchemaHasTheKeysOfTheParserAndNoOthers(t *testing.T) {
	t.Parallel()
	all := words(t)
	if !slices.Contains(all, "shared_suffix") || !slices.Contains(all, "certificates") || len(all) < 80 {
		t.Fatalf("the code has other words: %q", all)
	}
	var policy, team map[string]any
	for text, to := range map[string]*map[string]any{schema.Policy: &policy, schema.Team: &team} {
		if err := json.Unmarshal([]byte(text), to); err != nil {
			t.Fatal(err)
		}
	}
	objects := places(t, policy, policy, nil)
	if len(objects) < 15 {
		t.Errorf("the schema has %d objects: the test says little", len(objects))
	}
	for _, p := range objects {
		for _, key := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(all, p.keys)))) {
			if known := !unknown(t, document(p.path, key), "", key); known != slices.Contains(p.keys, key) {
				t.Errorf("%s: %q: the parser knows it: %t, the schema: %t", strings.Join(p.path, "."), key, known, !known)
			}
		}
	}
	keys := team["properties"].(map[string]any)
	const main = `{"version": 1, "include": [{"file": "team.yaml", "functions": ["*"]}]}`
	for _, key := range append(slices.Clone(all), "sets") {
		if _, has := keys[key]; has == unknown(t, main, document(nil, key), key) {
			t.Errorf("an included file: %q: the schema has it: %t", key, has)
		}
	}
}
