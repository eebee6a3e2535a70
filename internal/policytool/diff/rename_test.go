package diff_test

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/diff"
)

// sideOf parses a policy of some files; egress.yaml is the policy.
func sideOf(t *testing.T, files map[string]string) diff.Side {
	t.Helper()
	cfg, err := config.Parse("egress.yaml", []byte(files["egress.yaml"]), func(path string) ([]byte, error) {
		if text, ok := files[path]; ok {
			return []byte(text), nil
		}
		return nil, fs.ErrNotExist
	})
	if err != nil {
		t.Fatal(err)
	}
	return diff.Side{File: "egress.yaml", Spec: cfg.Spec()}
}

const billing = "  billing: {identify: {sources: [10.0.1.0/24]}, allow: [a.example, {host: b.example, ports: [22]}]}\n"

// A name is what callers are known by: under another one the old function loses all that it
// had, and the new one gains it. Nobody is taken for somebody else.
func TestRenamedFunctionLosesAndTheOtherGainsAll(t *testing.T) {
	was := sideOf(t, map[string]string{"egress.yaml": "version: 1\nfunctions:\n" + billing})
	is := sideOf(t, map[string]string{"egress.yaml": "version: 1\nfunctions:\n" + strings.Replace(billing, "billing", "invoices", 1)})
	d, err := diff.Compare(was, is, noon)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Functions) != 2 || !d.Gains() {
		t.Fatalf("%+v", d.Functions)
	}
	for i, name := range []string{"billing", "invoices"} {
		f := d.Functions[i]
		gone, come := f.Loses, f.Gains
		if name == "invoices" {
			gone, come = f.Gains, f.Loses
		}
		if f.Name != name || len(come) != 0 || len(gone) != 2 || gone[0].String() != "a.example on port 443" || gone[1].String() != "b.example on port 22" {
			t.Errorf("%s: gains %v, loses %v", f.Name, f.Gains, f.Loses)
		}
	}
}

// Two functions that change names with each other, and one that a team takes over.
func TestNamesThatAreChangedAndFilesThatAreNot(t *testing.T) {
	other := "  g: {identify: {sources: [10.0.2.0/24]}, allow: [c.example]}\n"
	was := sideOf(t, map[string]string{"egress.yaml": "version: 1\nfunctions:\n" + billing + other})
	swapped := strings.NewReplacer("billing", "g", "  g:", "  billing:").Replace(billing + other)
	d, err := diff.Compare(was, sideOf(t, map[string]string{"egress.yaml": "version: 1\nfunctions:\n" + swapped}), noon)
	if err != nil || len(d.Functions) != 2 {
		t.Fatalf("swapped: %+v, %v", d, err)
	}
	for _, f := range d.Functions {
		if len(f.Gains) == 0 || len(f.Loses) == 0 {
			t.Errorf("swapped: %s gains %v, loses %v", f.Name, f.Gains, f.Loses)
		}
	}
	moved := sideOf(t, map[string]string{
		"egress.yaml":  "version: 1\ninclude: [{file: teams/b.yaml, functions: [billing], may: {ports: [22, 443]}}]\nfunctions:\n" + other,
		"teams/b.yaml": "functions:\n" + billing,
	})
	if d, err := diff.Compare(was, moved, noon); err != nil || len(d.Functions) != 0 || d.Gains() {
		t.Errorf("moved to a team's file: %+v, %v", d.Functions, err)
	}
}
