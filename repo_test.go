// Package repo holds no code. Its tests look at the repository as a whole and
// fail where it breaks a rule that the compiler does not know: who may import
// whom, where connections may be opened, how long things may get, and that the
// documents say what the code does (docs_test.go).
package repo

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// module is the path of go.mod.
const module = "github.com/lambda-egress-proxy/lambda-egress-proxy"

// Limits of shape. Tests are exempt.
const (
	maxFunctionLines = 60
	maxFileLines     = 400
	maxComplexity    = 12
)

// words are the packages of values that everything speaks of. They import none
// of ours, and everything else may import them but wordless.
var words = []string{"internal/hostname", "internal/ipclass", "internal/verdict"}

// forTests is the package that tests alone import, as they do what lies below it.
const forTests = "internal/egresstest"

// wordless, with what is below it, shares no code with the writer of what it reads.
const wordless = "internal/evidence"

// mayImport is the house: which packages of ours each package may import beside
// words. Nobody imports a package that is neither there nor among the values.
var mayImport = map[string][]string{
	"internal/hostname":              {},
	"internal/ipclass":               {},
	"internal/verdict":               {},
	"internal/policy":                {"internal/policy/matcher"},
	"internal/identity":              {"internal/attest"},
	"internal/attestkeys":            {"internal/attest"},
	"internal/verifier":              {"internal/attest", "internal/fair"},
	"internal/attest":                {},
	"internal/standin":               {},
	"internal/resolve":               {"internal/bounds", "internal/fair", "internal/resolve/cache", "internal/resolve/chain", "internal/resolve/files", "internal/resolve/upstream"},
	"internal/admission":             {"internal/admission/holders", "internal/bounds", "internal/fair"},
	"internal/admission/holders":     {},
	"internal/bounds":                {},
	"internal/capacity":              {},
	"internal/conditions":            {"internal/bounds"},
	"internal/challenges":            {"internal/bounds", "internal/fair"},
	"internal/ownaddrs":              {"config"},
	"internal/distinct":              {"internal/bounds", "internal/fair"},
	"internal/fair":                  {"internal/bounds"},
	"internal/egress":                {"internal/bounds", "internal/reactor"},
	"internal/gate":                  {"internal/attest", "internal/audit", "internal/hello", "internal/httphead", "internal/identity", "internal/policy"},
	"internal/hello":                 {},
	"internal/httphead":              {},
	"internal/reactor":               {},
	"internal/tunnel":                {"internal/reactor", "internal/tunnel/pipes"},
	"internal/tunnel/pipes":          {},
	"internal/source":                {"internal/localfile", "internal/source/manifest"},
	"internal/suggest":               {},
	"internal/audit":                 {"internal/audit/flood", "internal/audit/record", "internal/audit/sink"},
	"internal/emf":                   {"internal/bounds"},
	"internal/localfile":             {},
	"internal/logqueue":              {"internal/bounds"},
	"internal/shutdown":              {},
	"internal/lowpriority":           {},
	"internal/lookup":                {"config", "config/settings", "internal/fair", "internal/ownaddrs", "internal/resolve", "proxy"},
	"internal/adminhttp":             {},
	"internal/memory":                {},
	"internal/daemon":                everything,
	"internal/evidence":              {"internal/evidence/envelope", "internal/evidence/jsonscan", "internal/evidence/record"},
	"internal/report":                {"internal/evidence", "internal/identity", "internal/report/doc", "internal/report/probes", "internal/report/tally"},
	"internal/torture":               {},
	"internal/ocsf":                  {"internal/evidence", "internal/printable"},
	"internal/expiry":                {"internal/policy"},
	"internal/policyfile":            {"config", "internal/source"},
	"internal/policydiff":            {"internal/policy", "internal/policy/matcher"},
	"internal/policytool":            {"config", "internal/identity", "internal/suggest"},
	"config":                         {"config/aws", "config/include", "config/patterns", "config/policytest", "config/settings", "internal/attest", "internal/policy", "internal/identity", "internal/localfile", "internal/suggest", "internal/yamlread"},
	"proxy":                          {"internal/audit", "internal/clientconn", "internal/connect", "internal/exchange", "internal/forward", "internal/gate", "internal/httphead", "internal/admission"},
	"internal/clientconn":            {"internal/admission", "internal/capacity", "internal/fair", "internal/httphead", "internal/identity", "internal/proxyheader", "internal/reactor"},
	"internal/exchange":              {"internal/admission", "internal/attest", "internal/audit", "internal/bounds", "internal/capacity", "internal/challenges", "internal/clientconn", "internal/distinct", "internal/egress", "internal/fair", "internal/gate", "internal/httphead", "internal/identity", "internal/perfunction", "internal/policy", "internal/refusal", "internal/tunnel", "internal/verifier"},
	"internal/refusal":               {"internal/audit", "internal/gate", "internal/httphead"},
	"internal/connect":               {"internal/admission", "internal/audit", "internal/clientconn", "internal/egress", "internal/exchange", "internal/gate", "internal/hello", "internal/httphead", "internal/reactor", "internal/tunnel"},
	"internal/forward":               {"internal/chunked", "internal/egress", "internal/exchange", "internal/gate", "internal/hop", "internal/httphead", "internal/inflight", "internal/origin", "internal/tunnel"},
	"internal/chunked":               {"internal/httphead"},
	"internal/hop":                   {"internal/httphead"},
	"internal/inflight":              {"internal/tunnel"},
	"internal/origin":                {"internal/bounds", "internal/httphead", "internal/reactor"},
	"dnsfilter":                      {"internal/bounds", "internal/fair", "internal/policy", "internal/identity", "internal/audit", "internal/dnsserver", "internal/gate", "dnsfilter/cache", "dnsfilter/chain", "internal/distinct", "internal/perfunction", "dnsfilter/wire"},
	"cmd/proxy":                      commands,
	"cmd/proxy/policies":             commands,
	"cmd/extension":                  {"internal/extension"},
	"internal/extension":             {"internal/extension/dial", "internal/extension/doctor", "internal/extension/lambdaapi", "internal/extension/relay", "internal/extension/stsclient", "internal/extension/token"},
	"cmd/posture":                    {"config", "internal/buildinfo", "internal/emf", "internal/identity", "internal/policyfile", "internal/posture/acceptance", "internal/posture/archive", "internal/posture/checks", "internal/posture/entries", "internal/posture/finding", "internal/posture/output", "internal/posture/probe", "internal/posture/probe/attempt", "internal/posture/probe/result", "internal/posture/reader", "internal/posture/snapshot", "internal/posture/summary"},
	"benchmarks/compare":             {"benchmarks/internal/against", "benchmarks/internal/load", "benchmarks/internal/peers", "benchmarks/internal/stats"},
	"deploy":                         {},
	"docs/hello":                     {},
	"docs/sts":                       {"internal/standin"},
	"benchmarks/internal/against":    {"benchmarks/internal/load", "benchmarks/internal/peers", "benchmarks/internal/stats"},
	"benchmarks/internal/handshake":  {},
	"benchmarks/internal/load":       {"benchmarks/internal/handshake", "benchmarks/internal/process", "benchmarks/internal/stats"},
	"benchmarks/internal/peers":      {"benchmarks/internal/handshake", "benchmarks/internal/load", "benchmarks/internal/process", "benchmarks/internal/stats", "internal/standin"},
	"benchmarks/internal/process":    {},
	"benchmarks/internal/stats":      {},
	"config/include":                 {"internal/localfile", "internal/yamlread"},
	"config/patterns":                {"internal/yamlread"},
	"config/policytest":              {"internal/policy", "internal/suggest", "internal/yamlread"},
	"config/aws":                     {"internal/attest", "internal/yamlread"},
	"config/settings":                {"internal/yamlread"},
	"internal/yamlread":              {"internal/suggest"},
	"internal/policy/matcher":        {},
	"internal/report/doc":            {},
	"internal/report/probes":         {"internal/evidence"},
	"internal/report/tally":          {"internal/evidence"},
	"internal/audit/flood":           {"internal/audit/record"},
	"internal/audit/record":          {"internal/policy"},
	"internal/audit/sink":            {},
	"internal/evidence/envelope":     {"internal/evidence/jsonscan"},
	"internal/evidence/jsonscan":     {},
	"internal/evidence/record":       {"internal/evidence/jsonscan"},
	"internal/resolve/files":         {"internal/localfile"},
	"internal/resolve/cache":         {"internal/resolve/chain", "internal/resolve/upstream"},
	"internal/resolve/chain":         {"internal/resolve/upstream"},
	"internal/resolve/upstream":      {"internal/dnsmsg"},
	"dnsfilter/cache":                {"dnsfilter/wire"},
	"dnsfilter/chain":                {"dnsfilter/wire"},
	"dnsfilter/wire":                 {"internal/dnsmsg"},
	"internal/dnsmsg":                {},
	"internal/dnsserver":             {"internal/bounds", "internal/fair", "internal/proxyheader"},
	"internal/proxyheader":           {},
	"internal/perfunction":           {"internal/tunnel"},
	"internal/posture/acceptance":    {"internal/posture/finding", "internal/yamlread"},
	"internal/posture/archive":       {"internal/posture/finding"},
	"internal/posture/entries":       {"internal/attest", "internal/identity"},
	"internal/posture/checks":        {"internal/posture/entries", "internal/posture/finding", "internal/posture/policydoc", "internal/posture/snapshot"},
	"internal/posture/finding":       {},
	"internal/posture/output":        {"internal/ocsf", "internal/posture/finding", "internal/posture/summary", "internal/printable"},
	"internal/posture/policydoc":     {},
	"internal/posture/probe":         {},
	"internal/posture/probe/attempt": {"internal/posture/probe"},
	"internal/posture/probe/result":  {"internal/emf", "internal/ocsf", "internal/posture/probe", "internal/printable"},
	"internal/posture/reader":        {"internal/posture/secrets", "internal/posture/snapshot"},
	"internal/posture/secrets":       {"internal/posture/snapshot"},
	"internal/posture/snapshot":      {},
	"internal/posture/summary":       {"internal/posture/finding", "internal/posture/snapshot"},

	"internal/buildinfo":                      {},
	"internal/extension/dial":                 {},
	"internal/extension/doctor":               {"internal/extension/token"},
	"internal/extension/lambdaapi":            {},
	"internal/extension/relay":                {"internal/chunked", "internal/httphead"},
	"internal/extension/stsclient":            {"internal/extension/token"},
	"internal/extension/token":                {},
	"internal/evidence/conclusion":            {"internal/evidence", "internal/printable"},
	"internal/explain":                        {"config", "internal/attest", "internal/gate", "internal/httphead", "internal/identity", "internal/policy", "internal/policytool"},
	"internal/healthcheck":                    {},
	"internal/commandline":                    {"internal/suggest"},
	"internal/commandline/manpage":            {},
	"internal/policytool/checkreport":         {"config", "internal/policytool/lint", "internal/printable"},
	"internal/policytool/convert":             {"config", "internal/identity", "internal/policy", "internal/policytool/format", "internal/yamlread"},
	"internal/policytool/convert/smokescreen": {"config/patterns", "internal/identity", "internal/policytool/convert", "internal/yamlread"},
	"internal/policytool/convert/squid":       {"config/patterns", "internal/identity", "internal/policytool/convert", "internal/yamlread"},
	"internal/policytool/diff":                {"internal/policy", "internal/printable"},
	"internal/policytool/format":              {"config", "internal/policytool"},
	"internal/policytool/learn":               {"config", "internal/policy", "internal/policytool", "internal/policytool/format", "internal/policytool/traffic", "internal/printable"},
	"internal/policytool/ready":               {"config", "internal/policytool/learn", "internal/policytool/schedule", "internal/policytool/traffic", "internal/printable"},
	"internal/policytool/schedule":            {},
	"internal/policytool/replay":              {"config", "internal/policy", "internal/policytool/traffic", "internal/printable"},
	"internal/policytool/traffic":             {"internal/evidence"},
	"internal/policytool/lint":                {"config", "internal/expiry", "internal/policy"},
	"internal/policytool/reach":               {"config", "internal/policy", "internal/printable"},
	"internal/printable":                      {},
	"internal/report/rulelist":                {"config", "internal/policy", "internal/report"},
	"internal/report/readiness":               {"config", "internal/evidence", "internal/policytool/learn", "internal/policytool/ready", "internal/policytool/schedule", "internal/policytool/traffic", "internal/report"},
	forTests:                                  {},
	forTests + "/alarms":                      {"internal/bounds"},
	forTests + "/awslocal":                    {},
	"internal/source/manifest":                {},

	"internal/policytool/release": {"config", "internal/source/manifest"},

	"config/schema": {},
	"internal/policytool/convert/dnsfirewall":     {"config/settings", "internal/policytool/convert", "internal/yamlread"},
	"internal/policytool/convert/networkfirewall": {"config/patterns", "internal/identity", "internal/policy", "internal/policytool/convert", "internal/yamlread"},
}

var everything = []string{
	"config", "config/settings", "dnsfilter", "internal/adminhttp", "internal/admission", "internal/attest", "internal/attestkeys", "internal/audit", "internal/capacity", "internal/conditions", "internal/daemon", "internal/distinct", "internal/egress", "internal/emf", "internal/evidence", "internal/expiry", "internal/fair",
	"internal/gate", "internal/hello", "internal/httphead", "internal/identity", "internal/logqueue", "internal/lookup", "internal/lowpriority", "internal/memory", "internal/ocsf", "internal/policy",
	"internal/ownaddrs", "internal/policydiff", "internal/policyfile", "internal/policytool", "internal/printable", "internal/reactor", "internal/report", "internal/resolve", "internal/shutdown", "internal/source", "internal/suggest", "internal/tunnel", "internal/verifier", "proxy",
}

// commands are the packages that a command of the program is a call of, and what the
// command line itself needs.
var commands = []string{
	"cmd/proxy/policies", "config", "config/schema", "internal/buildinfo", "internal/commandline", "internal/commandline/manpage", "internal/daemon", "internal/emf", "internal/evidence",
	"internal/evidence/conclusion", "internal/expiry", "internal/explain", "internal/healthcheck", "internal/identity", "internal/logqueue", "internal/lookup", "internal/ocsf",
	"internal/ownaddrs", "internal/policyfile", "internal/policytool", "internal/policytool/checkreport", "internal/policytool/convert", "internal/policytool/convert/dnsfirewall",
	"internal/policytool/convert/networkfirewall", "internal/policytool/convert/smokescreen", "internal/policytool/convert/squid", "internal/policytool/diff", "internal/policytool/format",
	"internal/policytool/learn", "internal/policytool/reach", "internal/policytool/ready", "internal/policytool/release", "internal/policytool/replay", "internal/policytool/schedule",
	"internal/policytool/traffic", "internal/printable", "internal/report", "internal/report/readiness", "internal/report/rulelist", "internal/suggest",
}

// importedByMany are the third-party modules that more than two packages may
// import, with the reason. All others are imported by one or two, with what lies
// below them, so that replacing one is a local change.
var importedByMany = map[string]string{
	"github.com/prometheus/client_golang": "metrics live in the package that counts",
	"github.com/spf13/cobra":              "the command line of each program",
	"golang.org/x/sys":                    "it is the kernel's interface, which nothing replaces",
	"github.com/aws/aws-sdk-go-v2":        "three programs have it, and of each one package",
	"github.com/aws/aws-sdk-go-v2/config": "the same",
	"github.com/aws/smithy-go":            "the same",
}

// goPackage is what go list says of a package.
type goPackage struct {
	ImportPath string
	Imports    []string
	Standard   bool
	Module     *struct{ Path string }
}

// listPackages runs go list over the module and what it depends on, without
// tests.
func listPackages(t *testing.T) (all []goPackage) {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports,Standard,Module", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p goPackage
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

func TestPackagesImportOnlyWhatTheHouseAllows(t *testing.T) {
	t.Parallel()
	missing := maps.Clone(mayImport)
	defer func() {
		for name := range missing {
			t.Errorf("mayImport has %s, which is no package", name)
		}
	}()
	for _, p := range listPackages(t) {
		name, ours := strings.CutPrefix(p.ImportPath, module+"/")
		if !ours {
			continue
		}
		allowed, known := mayImport[name]
		if !known {
			t.Errorf("%s has no line in mayImport; write which packages it may import", name)
		}
		delete(missing, name)
		for _, imp := range p.Imports {
			of, ok := strings.CutPrefix(imp, module+"/")
			speaks := slices.Contains(words, of) && !slices.Contains(words, name) && name != wordless && !strings.HasPrefix(name, wordless+"/")
			if ok && !speaks && !slices.Contains(allowed, of) {
				t.Errorf("%s imports %s, which it may not", name, of)
			}
		}
	}
}

// What it has is for tests: it ends the test, and opens connections that no way out has
// seen. Files are read whatever their build constraints, which go list does not.
func TestWhatIsForTestsIsImportedByTestsAlone(t *testing.T) {
	t.Parallel()
	users := 0
	walk(t, func(name string) {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range f.Imports {
			switch {
			case !strings.HasPrefix(strings.Trim(spec.Path.Value, `"`)+"/", module+"/"+forTests+"/"):
			case strings.HasSuffix(name, "_test.go"):
				users++
			default:
				t.Errorf("%s imports %s, which is for tests", name, forTests)
			}
		}
	}, ".go")
	if users == 0 {
		t.Errorf("no test imports %s", forTests)
	}
}

func TestThirdPartyModuleIsImportedByTwoPackagesAtMost(t *testing.T) {
	t.Parallel()
	moduleOf := map[string]string{}
	all := listPackages(t)
	for _, p := range all {
		if p.Module != nil {
			moduleOf[p.ImportPath] = p.Module.Path
		}
	}
	importers := map[string]map[string]bool{}
	for _, p := range all {
		name, ours := strings.CutPrefix(p.ImportPath, module+"/")
		if !ours || strings.HasPrefix(name, "benchmarks/") {
			continue
		}
		for _, imp := range p.Imports {
			if m := moduleOf[imp]; m != "" && m != module {
				if importers[m] == nil {
					importers[m] = map[string]bool{}
				}
				importers[m][owner(name)] = true
			}
		}
	}
	if len(importers) == 0 {
		t.Fatal("go list shows no third-party imports")
	}
	for m, by := range importers {
		if len(by) > 2 && importedByMany[m] == "" {
			t.Errorf("%s is imported by %v, more than two packages", m, slices.Sorted(maps.Keys(by)))
		}
	}
}

// owner returns the package of the house that a package lies below, or itself.
func owner(name string) string {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if _, known := mayImport[dir]; known {
			name = dir
		}
	}
	return name
}

func TestGoModReplacesNothing(t *testing.T) {
	t.Parallel()
	for line := range strings.Lines(read(t, "go.mod")) {
		if strings.HasPrefix(strings.TrimSpace(line), "replace") {
			t.Errorf("go.mod: %s", strings.TrimSpace(line))
		}
	}
}

// walk calls do for every file of the repository whose name ends in one of the
// suffixes, with its path from the root.
func walk(t *testing.T, do func(name string), suffixes ...string) {
	t.Helper()
	found := 0
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return filepath.SkipDir
		case d.IsDir():
			return nil
		}
		for _, s := range suffixes {
			if strings.HasSuffix(name, s) {
				found++
				do(filepath.ToSlash(name))
				break
			}
		}
		return nil
	})
	if err != nil || found == 0 {
		t.Fatalf("%d files end in %v: %v", found, suffixes, err)
	}
}

// read returns a file of the repository.
func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// source is a parsed Go file.
type source struct {
	name string // path from the root
	fset *token.FileSet
	file *ast.File
}

// line returns the line of a position.
func (s source) line(p token.Pos) int { return s.fset.Position(p).Line }

// sources parses the Go files of the program whatever their build constraints;
// tests are left out.
func sources(t *testing.T) (all []source) {
	t.Helper()
	fset := token.NewFileSet()
	walk(t, func(name string) {
		if strings.HasSuffix(name, "_test.go") {
			return
		}
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, source{name, fset, f})
	}, ".go")
	return all
}

func TestEveryPackageHasOneCommentInTheFileOfItsName(t *testing.T) {
	t.Parallel()
	commented := map[string][]string{}
	for _, s := range sources(t) {
		dir := path.Dir(s.name)
		commented[dir] = append(commented[dir], "")
		if s.file.Doc == nil {
			continue
		}
		commented[dir][0] += path.Base(s.name) + " "
		want := "Package " + s.file.Name.Name + " "
		if s.file.Name.Name == "main" {
			want = "Command " + path.Base(dir) + " "
		}
		if !strings.HasPrefix(s.file.Doc.Text(), want) {
			t.Errorf("%s: the package comment does not begin with %q", s.name, want)
		}
		if base := path.Base(s.name); base != s.file.Name.Name+".go" {
			t.Errorf("%s: the package comment belongs to %s.go", s.name, s.file.Name.Name)
		}
	}
	for dir, files := range commented {
		if n := len(strings.Fields(files[0])); n != 1 {
			t.Errorf("%s has %d package comments (%s), want 1", dir, n, strings.TrimSpace(files[0]))
		}
	}
}

func TestEveryExportedIdentifierHasAComment(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || ast.IsExported(receiver(d))) {
					t.Errorf("%s:%d: %s has no comment", s.name, s.line(d.Pos()), d.Name.Name)
				}
			case *ast.GenDecl:
				for _, name := range uncommented(d) {
					t.Errorf("%s:%d: %s has no comment", s.name, s.line(name.Pos()), name.Name)
				}
			}
		}
	}
}

// receiver returns the name of the type that a method belongs to.
func receiver(d *ast.FuncDecl) (name string) {
	ast.Inspect(d.Recv.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && name == "" {
			name = id.Name
		}
		return true
	})
	return name
}

// uncommented returns the exported names of a declaration that no comment
// stands at: not at the name, and not at its group.
func uncommented(d *ast.GenDecl) (names []*ast.Ident) {
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			if spec.Name.IsExported() && spec.Doc == nil && d.Doc == nil {
				names = append(names, spec.Name)
			}
		case *ast.ValueSpec:
			if spec.Doc != nil || spec.Comment != nil || d.Doc != nil {
				continue
			}
			for _, n := range spec.Names {
				if n.IsExported() {
					names = append(names, n)
				}
			}
		}
	}
	return names
}

func TestFilesAndFunctionsAreShortAndThereIsNoInit(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if n := s.line(s.file.FileEnd - 1); n > maxFileLines {
			t.Errorf("%s has %d lines, over %d", s.name, n, maxFileLines)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if f.Name.Name == "init" && f.Recv == nil {
				t.Errorf("%s:%d: init() runs before anybody asked for it", s.name, s.line(f.Pos()))
			}
			if n := s.line(f.End()) - s.line(f.Pos()) + 1; n > maxFunctionLines {
				t.Errorf("%s:%d: %s has %d lines, over %d", s.name, s.line(f.Pos()), f.Name.Name, n, maxFunctionLines)
			}
			if n := complexity(f); n > maxComplexity {
				t.Errorf("%s:%d: %s has a cyclomatic complexity of %d, over %d", s.name, s.line(f.Pos()), f.Name.Name, n, maxComplexity)
			}
		}
	}
}

// complexity returns the number of ways through a function: one, and one for
// each branch, as gocyclo counts it.
func complexity(f *ast.FuncDecl) int {
	n := 1
	ast.Inspect(f, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt:
			n++
		case *ast.CaseClause:
			if node.List != nil {
				n++
			}
		case *ast.CommClause:
			if node.Comm != nil {
				n++
			}
		case *ast.BinaryExpr:
			if node.Op == token.LAND || node.Op == token.LOR {
				n++
			}
		}
		return true
	})
	return n
}

func TestNothingIsLeftForLater(t *testing.T) {
	t.Parallel()
	later := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)
	walk(t, func(name string) {
		n := 0
		for line := range strings.Lines(read(t, name)) {
			if n++; later.MatchString(line) {
				t.Errorf("%s:%d: %s", name, n, strings.TrimSpace(line))
			}
		}
	}, ".go", ".md", ".yaml", ".yml", ".txtar", "Makefile", ".ci/run")
}

func TestCommentsReportWhether(t *testing.T) {
	t.Parallel()
	told := regexp.MustCompile(`\b[Tt]ells? ` + `whether\b`)
	walk(t, func(name string) {
		n := 0
		for line := range strings.Lines(read(t, name)) {
			if n++; told.MatchString(line) {
				t.Errorf("%s:%d: write \"reports whether\": %s", name, n, strings.TrimSpace(line))
			}
		}
	}, ".go")
}
