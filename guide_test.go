package repo

import (
	"errors"
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
)

// These tests fail where a file of a guide of ARCHITECTURE.md ("How to add") was
// forgotten and no other test would say so.

// selected calls do for each name that is selected in a file or a function, with what it
// is selected from: Reason and verdict for verdict.Reason.
func selected(in ast.Node, do func(from, name string)) {
	ast.Inspect(in, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			switch of := sel.X.(type) {
			case *ast.Ident:
				do(of.Name, sel.Sel.Name)
			case *ast.SelectorExpr:
				do(of.Sel.Name, sel.Sel.Name)
			}
		}
		return true
	})
}

// constantsOf returns the exported constants of a type of a package, those of its iota
// included.
func constantsOf(t *testing.T, dir, of string) (all []string) {
	t.Helper()
	for _, s := range sources(t) {
		if path.Dir(s.name) != dir {
			continue
		}
		for _, d := range s.file.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok || decl.Tok.String() != "const" {
				continue
			}
			kind := ""
			for _, spec := range decl.Specs {
				value := spec.(*ast.ValueSpec)
				if value.Type != nil {
					kind = typeName(value.Type)
				} else if len(value.Values) > 0 {
					kind = ""
				}
				for _, id := range value.Names {
					if kind == of && id.IsExported() {
						all = append(all, id.Name)
					}
				}
			}
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s has no constants of type %s", dir, of)
	}
	return all
}

// fieldsOf returns the fields of a struct type of a package whose types match.
func fieldsOf(t *testing.T, dir, name string, of *regexp.Regexp) (all []string) {
	t.Helper()
	for _, s := range sources(t) {
		if path.Dir(s.name) != dir {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || spec.Name.Name != name {
				return true
			}
			for _, f := range spec.Type.(*ast.StructType).Fields.List {
				if of.MatchString(typeName(f.Type)) {
					for _, id := range f.Names {
						all = append(all, id.Name)
					}
				}
			}
			return false
		})
	}
	if len(all) == 0 {
		t.Fatalf("%s.%s has no fields of %v", dir, name, of)
	}
	return all
}

// typeName returns a type as it is written, without what brackets hold.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return typeName(e.X) + "." + e.Sel.Name
	case *ast.StarExpr:
		return "*" + typeName(e.X)
	case *ast.ArrayType:
		return "[]" + typeName(e.Elt)
	default:
		return "?"
	}
}

func TestEveryReasonIsGivenBySomeStep(t *testing.T) {
	t.Parallel()
	given := map[string]bool{}
	for _, s := range sources(t) {
		if path.Dir(s.name) != "internal/verdict" {
			selected(s.file, func(from, name string) { given[from+"."+name] = true })
		}
	}
	for _, name := range constantsOf(t, "internal/verdict", "Reason") {
		if !given["verdict."+name] {
			t.Errorf("nothing refuses with %s; write the step that does", name)
		}
	}
}

func TestIdentitiesPageListsEveryMethodInOrder(t *testing.T) {
	t.Parallel()
	var want, got []string
	for _, m := range identity.Methods() {
		want = append(want, m.String()+" "+m.Key())
	}
	for _, m := range regexp.MustCompile(`(?m)^[0-9]+\. \*\*(\w+)\.\*\* `+"`"+`(\w+)`+"`").FindAllStringSubmatch(read(t, "docs/identities.md"), -1) {
		got = append(got, strings.ToLower(m[1])+" "+m[2])
	}
	if !slices.Equal(got, want) {
		t.Errorf("docs/identities.md lists %v, the code has %v", got, want)
	}
}

// A method is written into the table and found in it: two places beside its row.
func TestEveryMethodIsRegisteredAndFound(t *testing.T) {
	t.Parallel()
	used := map[string]map[string]bool{}
	for _, s := range sources(t) {
		if path.Dir(s.name) != "internal/identity" {
			continue
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok {
					if used[id.Name] == nil {
						used[id.Name] = map[string]bool{}
					}
					used[id.Name][f.Name.Name] = true
				}
				return true
			})
		}
	}
	for _, name := range constantsOf(t, "internal/identity", "Method") {
		if name != "MethodNone" && len(used[name]) < 2 {
			t.Errorf("%s is used in %d functions of internal/identity; register it, and find a caller by it", name, len(used[name]))
		}
	}
}

func TestFrontsSetEveryFieldOfACaller(t *testing.T) {
	t.Parallel()
	set := map[string]bool{}
	for _, s := range sources(t) {
		if strings.HasPrefix(s.name, "internal/identity/") || strings.HasPrefix(s.name, "cmd/") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				for _, e := range n.Lhs {
					if field, ok := e.(*ast.SelectorExpr); ok {
						if of, ok := field.X.(*ast.SelectorExpr); ok && of.Sel.Name == "Caller" {
							set[field.Sel.Name] = true
						}
					}
				}
			case *ast.CompositeLit:
				if typeName(n.Type) != "identity.Caller" {
					return true
				}
				for _, e := range n.Elts {
					if kv, ok := e.(*ast.KeyValueExpr); ok {
						set[kv.Key.(*ast.Ident).Name] = true
					}
				}
			}
			return true
		})
	}
	for _, field := range fieldsOf(t, "internal/identity", "Caller", regexp.MustCompile(`.`)) {
		if !set[field] {
			t.Errorf("no front sets identity.Caller.%s: nobody can show it", field)
		}
	}
}

func TestEveryStepIsWalkedByAFront(t *testing.T) {
	t.Parallel()
	walked := map[string]bool{}
	var steps []string
	for _, s := range sources(t) {
		if path.Dir(s.name) != "internal/gate" {
			continue
		}
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.GenDecl:
				ast.Inspect(d, func(n ast.Node) bool {
					if sel, ok := n.(*ast.SelectorExpr); ok {
						walked[sel.Sel.Name] = true
					}
					return true
				})
			case *ast.FuncDecl:
				if d.Recv != nil && !d.Name.IsExported() && len(d.Type.Params.List) == 0 && d.Type.Results != nil && typeName(d.Type.Results.List[0].Type) == "Need" {
					steps = append(steps, d.Name.Name)
				}
			}
		}
	}
	if len(steps) < 10 {
		t.Fatalf("internal/gate has the steps %v; the check looks for the wrong thing", steps)
	}
	for _, name := range steps {
		if !walked[name] {
			t.Errorf("no order of internal/gate has the step %s", name)
		}
	}
}

// Whoever drives a decision has to bring what it needs: the fronts, and explain, which
// has to say of each need whether it goes on or ends there.
func TestEveryNeedIsBroughtByWhoDrives(t *testing.T) {
	t.Parallel()
	fronts, explain := map[string]bool{}, map[string]bool{}
	for _, s := range sources(t) {
		into := fronts
		if strings.HasPrefix(path.Base(s.name), "explain") {
			into = explain
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			clause, ok := n.(*ast.CaseClause)
			if !ok {
				return true
			}
			for _, e := range clause.List {
				if name, ok := strings.CutPrefix(typeName(e), "gate."); ok {
					into[name] = true
				}
			}
			return true
		})
	}
	needs := constantsOf(t, "internal/gate", "Need")
	for _, name := range needs {
		if name != "Refused" && !fronts[name] {
			t.Errorf("no front has a case for gate.%s", name)
		}
		if !explain[name] {
			t.Errorf("explain has no case for gate.%s", name)
		}
	}
}

func TestEveryFrontHasAnOrder(t *testing.T) {
	t.Parallel()
	ordered := map[string]bool{}
	for _, s := range sources(t) {
		if path.Dir(s.name) != "internal/gate" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if clause, ok := n.(*ast.CaseClause); ok {
				for _, e := range clause.List {
					ordered[typeName(e)] = true
				}
			}
			return true
		})
	}
	agrees := read(t, "cmd/proxy/fronts_test.go")
	for _, name := range constantsOf(t, "internal/gate", "Front") {
		if !ordered[name] {
			t.Errorf("the front %s has no order: it refuses everything", name)
		}
		if !strings.Contains(agrees, "gate."+name+", ") {
			t.Errorf("the front %s has no row in cmd/proxy/fronts_test.go: nothing says that it agrees with the others", name)
		}
	}
}

// A listener that is read from the file is opened, served, said and closed, or it would
// be a key that does nothing.
func TestEveryListenerOfTheFileIsOpenedAndServed(t *testing.T) {
	t.Parallel()
	opened := map[string]bool{}
	uses := map[string]map[string]bool{} // of the fields of listeners, by function
	for _, s := range sources(t) {
		if path.Dir(s.name) != "internal/daemon" {
			continue
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			selected(f, func(from, name string) {
				opened[name] = opened[name] || f.Name.Name == "listen" && from == "at"
				if from == "l" {
					if uses[f.Name.Name] == nil {
						uses[f.Name.Name] = map[string]bool{}
					}
					uses[f.Name.Name][name] = true
				}
			})
		}
	}
	for _, field := range fieldsOf(t, "config", "Listen", regexp.MustCompile(`^netip\.AddrPort$|^\*`)) {
		if !opened[field] {
			t.Errorf("internal/daemon opens no listener for config.Listen.%s", field)
		}
	}
	for _, field := range fieldsOf(t, "internal/daemon", "listeners", regexp.MustCompile(`.`)) {
		for _, f := range []string{"listen", "serveListeners", "attrs", "close"} {
			if !uses[f][field] {
				t.Errorf("internal/daemon: %s leaves the listener %s out", f, field)
			}
		}
	}
}

// An unknown key makes the reader list the keys that there are.
func TestPolicyPageShowsEveryKeyOfListen(t *testing.T) {
	t.Parallel()
	var problems *config.Error
	if _, err := config.Parse("f", []byte("listen: {zzzzzzzz: 1}\n"), nil); !errors.As(err, &problems) {
		t.Fatal(err)
	}
	_, keys, ok := strings.Cut(problems.Error(), "no such key; write one of ")
	if !ok {
		t.Fatalf("the keys of listen are not listed: %v", problems)
	}
	keys, _, _ = strings.Cut(keys, "\n")
	block := regexp.MustCompile(`(?m)^listen:\n((?:  .*\n)+)`).FindStringSubmatch(read(t, "docs/policy.md"))
	if block == nil {
		t.Fatal("docs/policy.md shows no listen")
	}
	for key := range strings.SplitSeq(keys, ", ") {
		if !regexp.MustCompile(`(?m)^  ` + regexp.QuoteMeta(key) + `:`).MatchString(block[1]) {
			t.Errorf("docs/policy.md does not show listen.%s", key)
		}
	}
}
