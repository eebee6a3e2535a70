package deploy

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Terraform makes nothing of a module where a local or a resource wants itself, by whatever
// detour; the tests that evaluate the modules do not notice.
func TestTerraformModulesWantNothingThatWantsThem(t *testing.T) {
	t.Parallel()
	modules, err := filepath.Glob("terraform/*/main.tf")
	if err != nil || len(modules) < 3 {
		t.Fatalf("%d modules: %v", len(modules), err)
	}
	for _, name := range modules {
		file, diagnostics := hclsyntax.ParseConfig([]byte(read(t, name)), name, hcl.InitialPos)
		if diagnostics.HasErrors() {
			t.Fatal(diagnostics)
		}
		wants := map[string][]string{}
		for _, b := range file.Body.(*hclsyntax.Body).Blocks {
			switch b.Type {
			case "locals":
				for local, a := range b.Body.Attributes {
					wants["local."+local] = wanted(a.Expr.Variables())
				}
			case "resource":
				wants[strings.Join(b.Labels, ".")] = wanted(variables(b.Body))
			}
		}
		for node := range wants {
			if cycle := backTo(node, wants, nil); cycle != nil {
				t.Errorf("%s: %s wants %s", name, node, strings.Join(cycle, " wants "))
				break
			}
		}
	}
}

// Terraform plans by the keys of for_each, before anything is made: they must not come of what
// a service makes up, by whatever detour. A name that a module gives is known.
func TestTerraformKnowsWhatItMakesBeforeItMakesAnything(t *testing.T) {
	t.Parallel()
	modules, err := filepath.Glob("terraform/*/main.tf")
	if err != nil || len(modules) < 3 {
		t.Fatalf("%d modules: %v", len(modules), err)
	}
	for _, name := range modules {
		file, diagnostics := hclsyntax.ParseConfig([]byte(read(t, name)), name, hcl.InitialPos)
		if diagnostics.HasErrors() {
			t.Fatal(diagnostics)
		}
		blocks := file.Body.(*hclsyntax.Body).Blocks
		locals := map[string]hcl.Expression{}
		for _, b := range blocks {
			for local, a := range b.Body.Attributes {
				if b.Type == "locals" {
					locals[local] = a.Expr
				}
			}
		}
		for _, b := range blocks {
			if each := b.Body.Attributes["for_each"]; b.Type == "resource" && each != nil {
				if unknown := madeUp(each.Expr, locals, nil); unknown != "" {
					t.Errorf("%s: for_each of %s wants %s, which is not known yet", name, strings.Join(b.Labels, "."), unknown)
				}
			}
		}
	}
}

// madeUp returns an attribute of a resource that an expression wants and that a service makes
// up, "" where there is none.
func madeUp(e hcl.Expression, locals map[string]hcl.Expression, seen []string) string {
	for _, traversal := range e.Variables() {
		names := wanted([]hcl.Traversal{traversal})
		switch root := traversal.RootName(); {
		case root == "local" && len(names) == 1 && !slices.Contains(seen, names[0]):
			local := strings.TrimPrefix(names[0], "local.")
			if unknown := madeUp(locals[local], locals, append(slices.Clone(seen), names[0])); unknown != "" {
				return unknown
			}
		case strings.HasPrefix(root, "aws_") && len(traversal) > 2:
			if attribute, ok := traversal[2].(hcl.TraverseAttr); ok && attribute.Name != "name" {
				return names[0] + "." + attribute.Name
			}
		}
	}
	return ""
}

// variables returns what the expressions of a body name, and those of its blocks.
func variables(b *hclsyntax.Body) (all []hcl.Traversal) {
	for _, a := range b.Attributes {
		all = append(all, a.Expr.Variables()...)
	}
	for _, inner := range b.Blocks {
		all = append(all, variables(inner.Body)...)
	}
	return all
}

// wanted returns the first two names of each: local.shared, aws_lb.proxy.
func wanted(all []hcl.Traversal) (names []string) {
	for _, traversal := range all {
		if len(traversal) < 2 {
			continue
		}
		if second, ok := traversal[1].(hcl.TraverseAttr); ok {
			names = append(names, traversal.RootName()+"."+second.Name)
		}
	}
	return names
}

// backTo returns a way from a node to itself, nil where there is none.
func backTo(node string, wants map[string][]string, way []string) []string {
	at := node
	if len(way) > 0 {
		at = way[len(way)-1]
	}
	for _, next := range wants[at] {
		switch {
		case next == node:
			return append(slices.Clone(way), node)
		case slices.Contains(way, next):
		default:
			if cycle := backTo(node, wants, append(slices.Clone(way), next)); cycle != nil {
				return cycle
			}
		}
	}
	return nil
}
