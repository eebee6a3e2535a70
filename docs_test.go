package repo

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/token"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/lint"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// table returns the rows of the first Markdown table below a heading of a page,
// its head left out, with the backquotes taken off every cell.
func table(t *testing.T, page, heading string) (rows [][]string) {
	t.Helper()
	_, text, ok := strings.Cut(read(t, page), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("%s has no heading %q", page, heading)
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case !strings.HasPrefix(line, "|") && len(rows) > 0, strings.HasPrefix(line, "#"):
			if len(rows) < 3 {
				t.Fatalf("%s has no table below %q", page, heading)
			}
			return rows[2:]
		case strings.HasPrefix(line, "|"):
			cells := strings.Split(strings.Trim(line, "|"), "|")
			for i := range cells {
				cells[i] = strings.ReplaceAll(strings.TrimSpace(cells[i]), "`", "")
			}
			rows = append(rows, cells)
		}
	}
	t.Fatalf("%s ends within the table below %q", page, heading)
	return nil
}

func TestDecisionPageListsEveryReasonAsItsRowSaysInOrder(t *testing.T) {
	t.Parallel()
	var want, got []string
	for _, r := range verdict.Reasons() {
		row := r.Row()
		cells := strings.Join([]string{row.Word, row.Status.String(), row.Meaning, row.Remedy}, " | ")
		want = append(want, strings.ReplaceAll(cells, "`", ""))
	}
	for _, row := range table(t, "docs/decision.md", "## Reasons") {
		got = append(got, strings.Join(row, " | "))
	}
	if !slices.Equal(got, want) {
		t.Errorf("docs/decision.md has\n%s\nthe code has\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestMetricsPageListsEveryMetricWithItsTypeAndLabels(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	for _, row := range table(t, "docs/metrics.md", "## Prometheus") {
		got[row[0]] = row[1] + " " + row[2]
	}
	if want := registeredMetrics(t); !maps.Equal(got, want) {
		t.Errorf("docs/metrics.md has\n%s\nthe code has\n%s", lines(got), lines(want))
	}
}

// What alarms tell apart stands in the page as package verdict has it.
func TestMetricsPageSaysWhatEachReasonIsASignOf(t *testing.T) {
	t.Parallel()
	_, text, _ := strings.Cut(read(t, "docs/metrics.md"), "\n| counted as | reasons |\n|---|---|\n")
	text, _, _ = strings.Cut(text, "\n\n")
	var want []string
	for _, row := range []struct {
		name  string
		class verdict.Class
	}{
		{"`Refused`", verdict.ClassRefused}, {"`Limited`", verdict.ClassLimited}, {"`OriginsFailed`", verdict.ClassOrigin},
		{"neither: the request comes again with a credential", verdict.ClassChallenge}, {"neither: it is wrong in itself", verdict.ClassMalformed},
	} {
		want = append(want, "| "+row.name+" | `"+strings.Join(verdict.OfClass(row.class), "`, `")+"` |")
	}
	if want := strings.Join(want, "\n"); text != want {
		t.Errorf("docs/metrics.md has\n%s\nwant\n%s", text, want)
	}
	var refusing []string
	for _, b := range bounds.All {
		if b.Refuses {
			refusing = append(refusing, b.Name)
		}
	}
	if want := "turn somebody away when they are full: `" + strings.Join(refusing, "`, `") + "`;"; !strings.Contains(read(t, "docs/metrics.md"), want) {
		t.Errorf("docs/metrics.md does not say: %s", want)
	}
}

// lines prints a map for people.
func lines(m map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintln(&b, k, m[k])
	}
	return b.String()
}

// registeredMetrics finds every call of the form x.NewCounterVec(Opts{Name: …},
// labels), or NewDesc(name, …, labels, …), and returns type and labels by name. A scrape would not do: a metric
// with labels shows nothing before its first value.
func registeredMetrics(t *testing.T) map[string]string {
	t.Helper()
	kind := regexp.MustCompile(`^New(Counter|Gauge|Histogram|Summary)(Vec|Func)?$`)
	found := map[string]string{}
	for _, s := range sources(t) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			fun, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if fun.Sel.Name == "NewDesc" { // of a collector of ours: what ends in _total counts
				name, kind := stringsIn(call.Args[0])[0], "gauge"
				if strings.HasSuffix(name, "_total") {
					kind = "counter"
				}
				found[name] = kind + " " + strings.Join(stringsIn(call.Args[2]), ", ")
				return true
			}
			m := kind.FindStringSubmatch(fun.Sel.Name)
			opts, isLit := call.Args[0].(*ast.CompositeLit)
			if m == nil || !isLit {
				return true
			}
			labels := "–"
			keys := literalKeys(opts)
			switch constant := keys["ConstLabels"]; {
			case m[2] == "Vec":
				labels = strings.Join(stringsIn(call.Args[1]), ", ")
			case constant != nil:
				labels = strings.Join(stringsIn(constant), ", ")
			}
			if name := stringsIn(keys["Name"]); len(name) == 1 {
				found[name[0]] = strings.ToLower(m[1]) + " " + labels
			}
			return true
		})
	}
	return found
}

// stringsIn returns the string literals within an expression.
func stringsIn(e ast.Expr) (all []string) {
	if e == nil {
		return nil
	}
	ast.Inspect(e, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			s, _ := strconv.Unquote(lit.Value)
			all = append(all, s)
		}
		return true
	})
	return all
}

func TestPolicyPageListsEveryLimitWithItsDefault(t *testing.T) {
	t.Parallel()
	cfg, err := config.Parse("minimal", []byte("version: 1\nfunctions: {f: {identify: {sources: [10.0.0.0/8]}, allow: []}}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	l := cfg.Limits
	span := func(d time.Duration) string { // 12h0m0s is written 12h
		return regexp.MustCompile(`([hm])0m?0s$`).ReplaceAllString(d.String(), "$1")
	}
	seconds := func(d time.Duration) string { return fmt.Sprintf("%ds", int(d.Seconds())) }
	want := map[string]string{
		"tunnels": strconv.Itoa(l.Tunnels), "tunnels_per_function": strconv.Itoa(l.TunnelsPerFunction),
		"unidentified": strconv.Itoa(l.Unidentified), "header_timeout": seconds(l.HeaderTimeout),
		"header_bytes": fmt.Sprintf("%dKiB", l.HeaderBytes>>10), "dial_timeout": seconds(l.DialTimeout),
		"hello_timeout": seconds(l.HelloTimeout), "idle_timeout": seconds(l.IdleTimeout),
		"lifetime": span(l.Lifetime), "drain": seconds(l.Drain), "refusal_records": strconv.Itoa(l.RefusalRecords),
	}
	got := map[string]string{}
	for _, row := range table(t, "docs/policy.md", "## Limits") {
		got[row[0]] = row[1]
	}
	if !maps.Equal(got, want) {
		t.Errorf("docs/policy.md has\n%s\nthe code has\n%s", lines(got), lines(want))
	}
}

func TestDNSPageListsEveryKeyOfDNSWithItsDefault(t *testing.T) {
	t.Parallel()
	cfg, err := config.Parse("minimal", []byte("version: 1\nfunctions: {f: {identify: {sources: [10.0.0.0/8]}, allow: []}}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	d := cfg.DNS
	if len(d.Upstreams)+len(d.Clients) > 0 {
		t.Fatalf("a minimal file has upstreams %v and clients %v", d.Upstreams, d.Clients)
	}
	types := map[uint16]string{1: "A", 28: "AAAA", 65: "HTTPS", 64: "SVCB", 5: "CNAME", 12: "PTR"}
	var answered []string
	for _, n := range d.Types {
		answered = append(answered, types[n])
	}
	want := map[string]string{
		"upstreams": "those of /etc/resolv.conf", "families": d.Families.String(), "clients": "none",
		"refuse_with": d.RefuseWith.String(), "unknown": map[bool]string{true: "union", false: "refuse"}[d.AnswerUnion],
		"types": "", "record": map[bool]string{true: "all", false: "refused"}[d.RecordAll],
		"distinct_names_per_minute": strconv.Itoa(d.DistinctNamesPerMinute),
		"stale_for":                 strings.TrimSuffix(d.StaleFor.String(), "0s"), "max_aliases": strconv.Itoa(d.MaxAliases),
	}
	got := map[string]string{}
	for _, row := range table(t, "docs/dns.md", "## Keys") {
		got[row[0]] = row[1]
	}
	// The order of types says nothing.
	if listed := strings.Split(got["types"], ", "); !slices.Equal(slices.Sorted(slices.Values(listed)), slices.Sorted(slices.Values(answered))) {
		t.Errorf("docs/dns.md has the types %v, the code %v", listed, answered)
	}
	got["types"] = ""
	if !maps.Equal(got, want) {
		t.Errorf("docs/dns.md has\n%s\nthe code has\n%s", lines(got), lines(want))
	}
}

// block is a piece of YAML and where it stands.
type block struct{ where, text string }

// policiesIn returns what claims to be a policy: the blocks of documents that are
// marked yaml and nothing else, files with a key version on top, and texts of
// that kind within other YAML files, such as a parameter of a template.
func policiesIn(t *testing.T) (all []block) {
	t.Helper()
	fence := regexp.MustCompile("(?ms)^ *```yaml *\n(.*?)^ *```")
	walk(t, func(name string) {
		for i, m := range fence.FindAllStringSubmatch(read(t, name), -1) {
			all = append(all, block{fmt.Sprintf("%s, block %d", name, i+1), m[1]})
		}
	}, ".md")
	walk(t, func(name string) {
		if strings.Contains(name, "testdata/bad/") {
			return
		}
		text := read(t, name)
		if isPolicy(text) {
			all = append(all, block{name, text})
			return
		}
		for i, s := range yamlStrings(t, name, text) {
			if isPolicy(s) {
				all = append(all, block{fmt.Sprintf("%s, text %d", name, i+1), s})
			}
		}
	}, ".yaml", ".yml")
	return all
}

// isPolicy reports whether a text begins as a policy does, comments aside.
func isPolicy(text string) bool {
	return regexp.MustCompile(`^(#.*\n|\s*\n)*version: *1 *\n`).MatchString(text)
}

// yamlStrings returns every text of a YAML file; one that does not parse is
// an error of the test.
func yamlStrings(t *testing.T, name, text string) (all []string) {
	t.Helper()
	for dec := yaml.NewDecoder(strings.NewReader(text)); ; {
		var n yaml.Node
		err := dec.Decode(&n)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return all
		}
		for todo := []*yaml.Node{&n}; len(todo) > 0; {
			next := todo[0]
			todo = append(todo[1:], next.Content...)
			if next.Kind == yaml.ScalarNode {
				all = append(all, next.Value)
			}
		}
	}
}

func TestEveryPolicyInDocumentsAndExamplesLoads(t *testing.T) {
	t.Parallel()
	open := openFixture(t)
	documents := 0
	for _, b := range policiesIn(t) {
		cfg, err := config.Parse("egress.yaml", []byte(b.text), open)
		if err == nil {
			_, _, err = cfg.Compile()
		}
		if err != nil {
			t.Errorf("%s: %v", b.where, err)
		}
		if strings.HasPrefix(b.where, "docs/") {
			documents++
		}
	}
	if documents == 0 {
		t.Error("docs/ shows no policy")
	}
}

// Who copies an example must not open a host through which anyone can take data out.
func TestNoExampleTeachesExfiltration(t *testing.T) {
	t.Parallel()
	open := openFixture(t)
	for _, b := range policiesIn(t) {
		cfg, err := config.Parse("egress.yaml", []byte(b.text), open)
		if err != nil || strings.Contains(b.where, "testdata/") {
			continue // TestEveryPolicyInDocumentsAndExamplesLoads says so; what tests read teaches nobody
		}
		findings, err := lint.Of(cfg, b.where, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range findings {
			if f.Kind == lint.Writable || f.Kind == lint.Shared {
				t.Error(f)
			}
		}
	}
}

// openFixture returns what opens the files that examples name: a certificate, its
// key, a list of patterns, and a team's file.
func openFixture(t *testing.T) func(string) ([]byte, error) {
	t.Helper()
	certificate, key := egresstest.PEM(t, egresstest.SelfSigned(t))
	return func(name string) ([]byte, error) {
		switch filepath.Ext(name) {
		case ".key":
			return key, nil
		case ".crt", ".pem":
			return bytes.Clone(certificate), nil
		case ".json":
			return os.ReadFile("config/testdata/good/jwks.json")
		case ".txt":
			return []byte("# partners\napi.partner.example\n*.partner.example\n"), nil
		case ".yaml":
			return []byte("functions: {payments-refund: {identify: {sources: [10.0.50.0/24]}, allow: [api.bank.example]}}\n"), nil
		}
		return nil, os.ErrNotExist
	}
}

func TestDocumentsNameOnlyTestsAndFilesThatExist(t *testing.T) {
	t.Parallel()
	tests := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	walk(t, func(name string) {
		for _, m := range declared.FindAllStringSubmatch(read(t, name), -1) {
			tests[m[1]] = true
		}
	}, "_test.go")
	code := regexp.MustCompile("`([^`\n]+)`")
	test := regexp.MustCompile(`^(Test|Fuzz|Benchmark)[A-Z]\w+$`)
	file := regexp.MustCompile(`^[\w.-]+(/[\w.-]+)*\.(go|md|yaml|yml|txt|txtar|json)$`)
	folders := regexp.MustCompile(`^(cmd|config|dnsfilter|proxy|internal|benchmarks|deploy)/`)
	walk(t, func(name string) {
		for _, m := range code.FindAllStringSubmatch(read(t, name), -1) {
			switch word := m[1]; {
			case test.MatchString(word) && !tests[word]:
				t.Errorf("%s names %s, and there is no such test", name, word)
			case file.MatchString(word) && folders.MatchString(word):
				if _, err := os.Stat(word); err != nil {
					t.Errorf("%s names %s: %v", name, word, err)
				}
			}
		}
	}, ".md")
}
