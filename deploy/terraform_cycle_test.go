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
