package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// module is a Terraform module with its variables filled in: what it would make. What only a
// service knows is a text, as of a stack: ${aws_lb.proxy.arn}.
type module struct {
	t         *testing.T
	dir       string
	context   *hcl.EvalContext
	blocks    []*hclsyntax.Block
	Resources map[string]map[string]any // by address, with its key where there are several
}

// attributes are those of resources that others refer to.
var attributesOfResources = []string{
	"id", "arn", "name", "dns_name", "arn_suffix", "service_namespace", "scalable_dimension", "resource_id", "repository_url", "cidr_block", "zone_id",
}

// output returns what a module says of itself.
func (m *module) output(name string) cty.Value {
	m.t.Helper()
	for _, b := range m.blocks {
		if b.Type == "output" && b.Labels[0] == name {
			return m.eval(b.Body.Attributes["value"].Expr)
		}
	}
	m.t.Fatalf("%s has no output %s", m.dir, name)
	return cty.NilVal
}

// applied fills variables into a module.
func applied(t *testing.T, dir string, given map[string]cty.Value) *module {
	t.Helper()
	m := &module{t: t, dir: dir, Resources: map[string]map[string]any{}}
	files, err := filepath.Glob(filepath.Join(dir, "*.tf"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no files: %v", dir, err)
	}
	for _, name := range files {
		file, diagnostics := hclsyntax.ParseConfig([]byte(read(t, name)), name, hcl.InitialPos)
		if diagnostics.HasErrors() {
			t.Fatal(diagnostics)
		}
		m.blocks = append(m.blocks, file.Body.(*hclsyntax.Body).Blocks...)
	}
	m.context = &hcl.EvalContext{Functions: m.functions(), Variables: map[string]cty.Value{
		"path": cty.ObjectVal(map[string]cty.Value{"module": cty.StringVal(dir)}),
		"var":  m.variables(given),
		"data": cty.ObjectVal(map[string]cty.Value{
			"aws_caller_identity": this("account_id", pseudo["AWS::AccountId"]),
			"aws_partition":       this("partition", pseudo["AWS::Partition"], "dns_suffix", pseudo["AWS::URLSuffix"]),
			"aws_region":          this("region", pseudo["AWS::Region"]),
		}),
	}}
	// A local may want resources, and how many resources there are a local.
	for range 6 {
		m.references()
		m.locals()
	}
	for _, b := range m.blocks {
		if b.Type == "resource" {
			m.resource(b)
		}
	}
	return m
}

// this is a data source of that name.
func this(pairs ...string) cty.Value {
	values := map[string]cty.Value{}
	for pair := range slices.Chunk(pairs, 2) {
		values[pair[0]] = cty.StringVal(pair[1])
	}
	return cty.ObjectVal(map[string]cty.Value{"this": cty.ObjectVal(values)})
}

// functions are those of Terraform that the modules use.
func (m *module) functions() map[string]function.Function {
	text := func(do func(args []cty.Value) cty.Value, types ...cty.Type) function.Function {
		spec := &function.Spec{Type: function.StaticReturnType(cty.String), Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return do(args), nil }}
		for _, kind := range types {
			spec.Params = append(spec.Params, function.Parameter{Name: "argument", Type: kind})
		}
		return function.New(spec)
	}
	templatefile := text(func(args []cty.Value) cty.Value {
		source := read(m.t, args[0].AsString())
		e, diagnostics := hclsyntax.ParseTemplate([]byte(source), args[0].AsString(), hcl.InitialPos)
		if diagnostics.HasErrors() {
			m.t.Fatal(diagnostics)
		}
		value, diagnostics := e.Value(&hcl.EvalContext{Variables: args[1].AsValueMap()})
		if diagnostics.HasErrors() {
			m.t.Fatal(diagnostics)
		}
		return value
	}, cty.String, cty.DynamicPseudoType)
	cidrsubnet := text(func(args []cty.Value) cty.Value {
		bits, _ := args[1].AsBigFloat().Int64()
		i, _ := args[2].AsBigFloat().Int64()
		var size int
		if _, err := fmt.Sscanf(args[0].AsString()[strings.Index(args[0].AsString(), "/"):], "/%d", &size); err != nil {
			m.t.Fatal(err)
		}
		return cty.StringVal(cut(m.t, args[0].AsString(), int(i)+1, size+int(bits))[i].(string))
	}, cty.String, cty.Number, cty.Number)
	to := func(kind cty.Type) function.Function {
		return function.New(&function.Spec{
			Params: []function.Parameter{{Name: "v", Type: cty.DynamicPseudoType}}, Type: function.StaticReturnType(kind),
			Impl: func(args []cty.Value, kind cty.Type) (cty.Value, error) { return convert.Convert(args[0], kind) },
		})
	}
	toset := function.New(&function.Spec{
		Params: []function.Parameter{{Name: "v", Type: cty.DynamicPseudoType}}, Type: function.StaticReturnType(cty.Set(cty.String)),
		Impl: func(args []cty.Value, kind cty.Type) (cty.Value, error) { return convert.Convert(args[0], kind) },
	})
	return map[string]function.Function{
		"jsondecode": stdlib.JSONDecodeFunc, "jsonencode": stdlib.JSONEncodeFunc, "merge": stdlib.MergeFunc, "split": stdlib.SplitFunc, "max": stdlib.MaxFunc,
		"length": stdlib.LengthFunc, "lookup": stdlib.LookupFunc, "replace": stdlib.ReplaceFunc, "concat": stdlib.ConcatFunc, "keys": stdlib.KeysFunc, "contains": stdlib.ContainsFunc, "try": tryfunc.TryFunc,
		"filebase64sha256": text(func([]cty.Value) cty.Value { return cty.StringVal("a hash") }, cty.String),
		"templatefile":     templatefile, "cidrsubnet": cidrsubnet, "tonumber": to(cty.Number), "tostring": to(cty.String), "toset": toset,
	}
}

// variables returns the variables, with their defaults.
func (m *module) variables(given map[string]cty.Value) cty.Value {
	values := maps.Clone(given)
	if values == nil {
		values = map[string]cty.Value{}
	}
	known := map[string]bool{}
	for _, b := range m.blocks {
		if b.Type != "variable" {
			continue
		}
		name := b.Labels[0]
		known[name] = true
		if _, ok := values[name]; ok {
			continue
		}
		d := b.Body.Attributes["default"]
		if d == nil {
			m.t.Fatalf("%s: variable %s has no value", m.dir, name)
		}
		values[name] = m.eval(d.Expr)
	}
	for name := range values {
		if !known[name] {
			m.t.Fatalf("%s has no variable %s", m.dir, name)
		}
	}
	return cty.ObjectVal(values)
}

// eval evaluates an expression.
func (m *module) eval(e hcl.Expression) cty.Value {
	m.t.Helper()
	value, diagnostics := e.Value(m.context)
	if diagnostics.HasErrors() {
		m.t.Fatal(diagnostics)
	}
	return value
}

// locals evaluates what can be evaluated yet.
func (m *module) locals() {
	values := map[string]cty.Value{}
	if old, ok := m.context.Variables["local"]; ok {
		values = old.AsValueMap()
	}
	if values == nil {
		values = map[string]cty.Value{}
	}
	for _, b := range m.blocks {
		if b.Type != "locals" {
			continue
		}
		for name, a := range b.Body.Attributes {
			if value, diagnostics := a.Expr.Value(m.context); !diagnostics.HasErrors() {
				values[name] = value
			}
		}
	}
	m.context.Variables["local"] = cty.ObjectVal(values)
}

// references makes the resources that expressions can name.
func (m *module) references() {
	types := map[string]map[string]cty.Value{}
	for _, b := range m.blocks {
		if b.Type != "resource" {
			continue
		}
		if types[b.Labels[0]] == nil {
			types[b.Labels[0]] = map[string]cty.Value{}
		}
		address := b.Labels[0] + "." + b.Labels[1]
		if count := b.Body.Attributes["count"]; count != nil {
			types[b.Labels[0]][b.Labels[1]] = cty.EmptyTupleVal
			if !m.eval(count.Expr).RawEquals(cty.NumberIntVal(0)) {
				types[b.Labels[0]][b.Labels[1]] = cty.TupleVal([]cty.Value{symbols(address)})
			}
			continue
		}
		if b.Body.Attributes["for_each"] == nil {
			types[b.Labels[0]][b.Labels[1]] = symbols(address)
			continue
		}
		each, diagnostics := b.Body.Attributes["for_each"].Expr.Value(m.context)
		if diagnostics.HasErrors() {
			continue
		}
		several := map[string]cty.Value{}
		for it := each.ElementIterator(); it.Next(); {
			key, _ := it.Element()
			if each.Type().IsSetType() {
				_, key = it.Element()
			}
			several[key.AsString()] = symbols(address + "[" + key.AsString() + "]")
		}
		types[b.Labels[0]][b.Labels[1]] = cty.ObjectVal(several)
	}
	for name, of := range types {
		m.context.Variables[name] = cty.ObjectVal(of)
	}
}

// symbols is a resource whose attributes are texts that name them.
func symbols(address string) cty.Value {
	values := map[string]cty.Value{}
	for _, name := range attributesOfResources {
		values[name] = cty.StringVal("${" + address + "." + name + "}")
	}
	return cty.ObjectVal(values)
}

// resource evaluates a resource, each of it where there are several.
func (m *module) resource(b *hclsyntax.Block) {
	m.t.Helper()
	address := b.Labels[0] + "." + b.Labels[1]
	if count := b.Body.Attributes["count"]; count != nil {
		if n := m.eval(count.Expr); n.RawEquals(cty.NumberIntVal(0)) {
			return
		}
	}
	each := b.Body.Attributes["for_each"]
	if each == nil {
		m.Resources[address] = m.body(b.Body)
		return
	}
	of := m.eval(each.Expr)
	for it := of.ElementIterator(); it.Next(); {
		key, value := it.Element()
		if of.Type().IsSetType() {
			key = value
		}
		m.context.Variables["each"] = cty.ObjectVal(map[string]cty.Value{"key": key, "value": value})
		m.Resources[address+"["+key.AsString()+"]"] = m.body(b.Body)
	}
}

// body evaluates the attributes and blocks of a resource; a block is a list of those of its
// kind. What steers Terraform alone is left out.
func (m *module) body(b *hclsyntax.Body) map[string]any {
	m.t.Helper()
	all := map[string]any{}
	for name, a := range b.Attributes {
		if slices.Contains([]string{"for_each", "count", "depends_on"}, name) {
			continue
		}
		if value := m.eval(a.Expr); !value.IsNull() {
			all[name] = plain(m.t, value)
		}
	}
	for _, inner := range b.Blocks {
		switch inner.Type {
		case "lifecycle":
		case "dynamic":
			name := inner.Labels[0]
			of := m.eval(inner.Body.Attributes["for_each"].Expr)
			for it := of.ElementIterator(); it.Next(); {
				key, value := it.Element()
				m.context.Variables[name] = cty.ObjectVal(map[string]cty.Value{"key": key, "value": value})
				list, _ := all[name].([]any)
				all[name] = append(list, any(m.body(inner.Body.Blocks[0].Body)))
			}
		default:
			list, _ := all[inner.Type].([]any)
			all[inner.Type] = append(list, any(m.body(inner.Body)))
		}
	}
	return all
}

// plain returns a value as JSON has it; a text that is JSON itself is read.
func plain(t *testing.T, v cty.Value) (value any) {
	t.Helper()
	b, err := ctyjson.Marshal(v, v.Type())
	if err == nil {
		err = json.Unmarshal(b, &value)
	}
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := value.(string); ok && regexp.MustCompile(`^[\[{]`).MatchString(s) {
		_ = json.Unmarshal([]byte(s), &value)
	}
	return value
}
