package deploy

import (
	"maps"
	"slices"
	"testing"
)

// The example for SAM is the function of ecs/function.yaml, resource by resource: what SAM
// calls otherwise is called back here, and what it leaves out is named.
func TestSAMExampleIsTheFunctionOfTheTemplate(t *testing.T) {
	t.Parallel()
	// An application sets them by Globals, if it has them.
	leftOut := []string{"KmsKeyArn", "PermissionsBoundaryArn"}
	example, original := readTemplate(t, "sam/template.yaml"), templates(t)["function.yaml"]
	for name, p := range original.Parameters {
		_, there := example.Parameters[name]
		if there == slices.Contains(leftOut, name) {
			t.Errorf("parameter %s is in the example: %t", name, there)
		} else if there && text(t, example.Parameters[name]) != text(t, p) {
			t.Errorf("parameter %s differs", name)
		}
	}
	withCa := maps.Clone(attested)
	withCa["ProxyCa"] = "/var/task/ca.pem"
	for _, given := range []settings{nil, attested, withCa} {
		want, got := fill(t, original, given), ofSAM(t, given)
		sameResources(t, want.Resources, got.Resources)
		if text(t, want.Outputs) != text(t, got.Outputs) {
			t.Errorf("outputs are %s, want %s", text(t, got.Outputs), text(t, want.Outputs))
		}
	}
}

// ofSAM fills the example in, as SAM does: its function with what Globals say.
func ofSAM(t *testing.T, given settings) *stack {
	t.Helper()
	example := readTemplate(t, "sam/template.yaml")
	got := fill(t, example, given)
	function := got.Resources["Function"]
	if function.Type != "AWS::Serverless::Function" {
		t.Fatalf("the function is a %s", function.Type)
	}
	function.Type = "AWS::Lambda::Function"
	function.Properties = merged(got.value(example.Globals.Function).(map[string]any), function.Properties)
	function.Properties["Code"] = map[string]any{"ZipFile": function.Properties["InlineCode"]}
	delete(function.Properties, "InlineCode")
	got.Resources["Function"] = function
	return got
}

// merged adds the properties of a function to those of all functions, as SAM does.
func merged(globals, own map[string]any) map[string]any {
	all := maps.Clone(globals)
	for key, value := range own {
		inner, isMap := value.(map[string]any)
		if of, ok := all[key].(map[string]any); ok && isMap {
			value = merged(of, inner)
		}
		all[key] = value
	}
	return all
}

// sameResources compares what two stacks make.
func sameResources(t *testing.T, want, got map[string]resource) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		w, g := want[name], got[name]
		if g.Type != w.Type || g.DeletionPolicy != w.DeletionPolicy || g.UpdateReplacePolicy != w.UpdateReplacePolicy {
			t.Errorf("%s is a %s, %s, %s; want %s, %s, %s", name, g.Type, g.DeletionPolicy, g.UpdateReplacePolicy, w.Type, w.DeletionPolicy, w.UpdateReplacePolicy)
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(merged(w.Properties, g.Properties))) {
			if a, b := text(t, w.Properties[key]), text(t, g.Properties[key]); a != b {
				t.Errorf("%s: %s is\n%s\nwant\n%s", name, key, b, a)
			}
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is not in the template", name)
		}
	}
}
