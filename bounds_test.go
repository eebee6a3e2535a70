package repo

import (
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
)

// offline are the packages that no running proxy has, or that hold nothing beyond a call.
var offline = []string{
	"benchmarks", "cmd", "deploy", "docs", "internal/egresstest", "internal/evidence", "internal/extension", "internal/explain", "internal/commandline",
	"internal/ocsf", "internal/policytool", "internal/posture", "internal/report", "internal/standin", "internal/torture",
}

// holding are the types of fields that hold more the more callers ask.
var holding = []string{"sync.Map", "sync.Pool", "list.List", "fair.Places", "holders.Table", "shares", "Budget", "admission.Budget"}

// What holds more the more callers ask is a row of the table, or says why it need not be.
func TestWhateverIsBoundedIsARowOfTheTable(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, b := range bounds.All {
		for _, name := range b.Held {
			known[name] = false
		}
	}
	for name := range bounds.Exempt {
		known[name] = false
	}
	for _, s := range sources(t) {
		dir := path.Dir(s.name)
		if slices.ContainsFunc(offline, func(p string) bool { return dir == p || strings.HasPrefix(dir, p+"/") }) {
			continue
		}
		for name, pos := range held(s.file) {
			name = dir + "." + name
			if _, ok := known[name]; !ok {
				t.Errorf("%s:%d: %s is no row of internal/bounds and not exempt", s.name, s.line(pos), name)
			}
			known[name] = true
		}
	}
	for _, dir := range offline {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			t.Errorf("offline names %s, which is no folder", dir)
		}
	}
	for name, found := range known {
		if !found && !namesSomething(t, name) {
			t.Errorf("internal/bounds names %s, which is not there", name)
		}
	}
}

// held returns the fields, variables and functions of a file that hold something, by name.
func held(file *ast.File) map[string]token.Pos {
	out := map[string]token.Pos{}
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					fieldsThatHold(spec, out)
				case *ast.ValueSpec:
					if d.Tok == token.VAR && spec.Type != nil && holds(spec.Type) {
						out[spec.Names[0].Name] = spec.Pos()
					}
				}
			}
		case *ast.FuncDecl:
			if pos := buffered(d); pos.IsValid() {
				out[functionName(d)] = pos
			}
		}
	}
	return out
}

// fieldsThatHold adds the fields of a struct type.
func fieldsThatHold(spec *ast.TypeSpec, out map[string]token.Pos) {
	s, ok := spec.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, f := range s.Fields.List {
		if !holds(f.Type) {
			continue
		}
		for _, n := range f.Names {
			out[spec.Name.Name+"."+n.Name] = n.Pos()
		}
	}
}

// holds reports whether a value of the type holds more the more it is given.
func holds(t ast.Expr) bool {
	switch t := t.(type) {
	case *ast.MapType:
		return true
	case *ast.StarExpr:
		return holds(t.X)
	case *ast.IndexExpr:
		return holds(t.X)
	case *ast.IndexListExpr:
		return holds(t.X)
	case *ast.SelectorExpr:
		return slices.Contains(holding, fmt.Sprint(t.X, ".", t.Sel))
	case *ast.Ident:
		return slices.Contains(holding, t.Name)
	default:
		return false
	}
}

// buffered returns where a function makes a channel with room, or a position that is not
// valid.
func buffered(d *ast.FuncDecl) (pos token.Pos) {
	ast.Inspect(d, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 2 {
			return true
		}
		if f, ok := call.Fun.(*ast.Ident); ok && f.Name == "make" {
			if _, ok := call.Args[0].(*ast.ChanType); ok {
				pos = call.Pos()
			}
		}
		return true
	})
	return pos
}

// functionName returns the name of a function, with the type whose method it is.
func functionName(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return d.Name.Name
	}
	of := d.Recv.List[0].Type
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	return fmt.Sprint(of) + "." + d.Name.Name
}

// namesSomething reports whether a name of the table stands for a field or variable that
// is there, such as a slice or a counter.
func namesSomething(t *testing.T, name string) bool {
	t.Helper()
	dir, rest, _ := strings.Cut(name, ".")
	of, field, isField := strings.Cut(rest, ".")
	for _, s := range sources(t) {
		if path.Dir(s.name) != dir {
			continue
		}
		found := false
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.TypeSpec:
				if st, ok := n.Type.(*ast.StructType); ok && isField && n.Name.Name == of {
					for _, f := range st.Fields.List {
						found = found || slices.ContainsFunc(f.Names, func(id *ast.Ident) bool { return id.Name == field })
					}
				}
			case *ast.ValueSpec:
				found = found || !isField && slices.ContainsFunc(n.Names, func(id *ast.Ident) bool { return id.Name == of })
			}
			return true
		})
		if found {
			return true
		}
	}
	return false
}

// A row says all that an operator has to know, and its test and its metric are there.
func TestEveryRowOfTheTableIsFull(t *testing.T) {
	t.Parallel()
	metrics := read(t, "docs/metrics.md")
	seen, tests := map[string]bool{}, allTests(t)
	for _, b := range bounds.All {
		for column, text := range map[string]string{
			"Name": b.Name, "Of": b.Of, "Size": b.Size, "By": b.By, "Over": b.Over, "Full": b.Full, "Keeps": b.Keeps, "Test": b.Test,
		} {
			if text == "" {
				t.Errorf("%s: its column %s is empty", b.Name, column)
			}
		}
		if seen[b.Name] {
			t.Errorf("%s stands twice", b.Name)
		}
		seen[b.Name] = true
		if len(b.Held) == 0 {
			t.Errorf("%s: the column Held is empty", b.Name)
		}
		if b.Part > 0 && b.Metric == "" {
			t.Errorf("%s has shares, and no metric counts who is over one", b.Name)
		}
		if b.Metric != "" && !strings.Contains(metrics, "`"+b.Metric) {
			t.Errorf("%s: docs/metrics.md has no %s", b.Name, b.Metric)
		}
		if !strings.Contains(tests, "func "+b.Test+"(") {
			t.Errorf("%s: there is no %s", b.Name, b.Test)
		}
	}
	for r := range admission.Rows {
		if !seen[r.String()] {
			t.Errorf("egress_over_share_total has %q, which is no row", r)
		}
	}
}

// allTests returns the texts of all test files.
func allTests(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	walk(t, func(name string) { all.WriteString(read(t, name)) }, "_test.go")
	return all.String()
}

// The page has the rows of the table as they are, and no other.
func TestLimitsPageHasTheRowsOfTheTable(t *testing.T) {
	t.Parallel()
	var want strings.Builder
	for _, b := range bounds.All {
		share := "—"
		if b.Part > 0 {
			share = fmt.Sprintf("1/%d", b.Part)
			if b.Least > 0 {
				share += fmt.Sprintf(", %d at least", b.Least)
			}
			if b.Most > 0 {
				share += fmt.Sprintf(", %d at most", b.Most)
			}
		}
		metric := "—"
		if b.Metric != "" {
			metric = "`" + b.Metric + "`"
		}
		fmt.Fprintf(&want, "| `%s` | %s | %s | %s | %s | %s | %s | %s | %s |\n", b.Name, b.Of, b.Size, b.By, share, b.Over, b.Full, b.Keeps, metric)
	}
	page := read(t, "docs/limits.md")
	_, rest, _ := strings.Cut(page, "|---|---|---|---|---|---|---|---|---|\n")
	rows, _, _ := strings.Cut(rest, "\n\n")
	if rows+"\n" != want.String() {
		t.Errorf("docs/limits.md has\n%s\nwant\n%s", rows, want.String())
	}
}
