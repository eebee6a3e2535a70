// Package deploy holds no code. Its tests read the templates, the sample policy, the
// dashboard and the Dockerfile, and fail where one of them breaks a rule or does not agree
// with the others, with the documents, or with the program.
package deploy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
)

// template is a CloudFormation template with its short tags written out.
type template struct {
	name       string
	Parameters map[string]struct {
		Type           string `yaml:"Type"`
		Default        any    `yaml:"Default"`
		Description    string `yaml:"Description"`
		AllowedPattern string `yaml:"AllowedPattern"`
		AllowedValues  []any  `yaml:"AllowedValues"`
		MinValue       *int   `yaml:"MinValue"`
		MaxValue       *int   `yaml:"MaxValue"`
	} `yaml:"Parameters"`
	Rules      map[string]rule `yaml:"Rules"`
	Conditions map[string]any  `yaml:"Conditions"`
	Globals    struct {
		Function map[string]any `yaml:"Function"`
	} `yaml:"Globals"` // of SAM
	Mappings  map[string]map[string]map[string]any `yaml:"Mappings"`
	Resources map[string]resource                  `yaml:"Resources"`
	Outputs   map[string]struct {
		Description string `yaml:"Description"`
		Value       any    `yaml:"Value"`
	} `yaml:"Outputs"`
}

// rule is a rule about parameters: where its condition holds, or it has none, every
// assertion must hold.
type rule struct {
	RuleCondition any `yaml:"RuleCondition"`
	Assertions    []struct {
		Assert            any    `yaml:"Assert"`
		AssertDescription string `yaml:"AssertDescription"`
	} `yaml:"Assertions"`
}

// resource is one resource of a template.
type resource struct {
	Type                string         `yaml:"Type"`
	Condition           string         `yaml:"Condition"`
	DeletionPolicy      string         `yaml:"DeletionPolicy"`
	UpdateReplacePolicy string         `yaml:"UpdateReplacePolicy"`
	Properties          map[string]any `yaml:"Properties"`
}

// templates reads every template of ecs/.
func templates(t *testing.T) map[string]*template {
	t.Helper()
	names, err := filepath.Glob("ecs/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*template{}
	for _, name := range names {
		tmpl := readTemplate(t, name)
		if tmpl.Resources != nil { // the sample policy has none
			all[tmpl.name] = tmpl
		}
	}
	if len(all) != 9 {
		t.Fatalf("%d templates, want 9", len(all))
	}
	return all
}

// readTemplate reads one template.
func readTemplate(t *testing.T, name string) *template {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(read(t, name)), &n); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	tmpl := &template{name: filepath.Base(name)}
	writeOut(&n)
	if err := n.Decode(tmpl); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return tmpl
}

// writeOut replaces short tags by what they stand for: !Ref x by {Ref: x}, !GetAtt by
// {Fn::GetAtt: …} and so on.
func writeOut(n *yaml.Node) {
	for _, c := range n.Content {
		writeOut(c)
	}
	if strings.HasPrefix(n.Tag, "!!") || !strings.HasPrefix(n.Tag, "!") {
		return
	}
	name := strings.TrimPrefix(n.Tag, "!")
	if name != "Ref" && name != "Condition" {
		name = "Fn::" + name
	}
	inner := *n
	inner.Tag = map[yaml.Kind]string{yaml.ScalarNode: "!!str", yaml.SequenceNode: "!!seq", yaml.MappingNode: "!!map"}[n.Kind]
	*n = yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: n.Line, Content: []*yaml.Node{
		{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, &inner,
	}}
}

// read returns a file.
func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// at follows keys and indexes into a value; nil where there is nothing.
func at(v any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[step]
		case int:
			l, _ := v.([]any)
			if step >= len(l) {
				return nil
			}
			v = l[step]
		}
	}
	return v
}

// text prints a value of a template the way it is compared: JSON, with map keys sorted.
func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// want compares one place of a resource.
func (r resource) want(t *testing.T, want any, path ...any) {
	t.Helper()
	if got := text(t, at(r.Properties, path...)); got != text(t, want) {
		t.Errorf("%s %v is %s, want %s", r.Type, path, got, text(t, want))
	}
}

// choices returns every value that a list may hold, whatever its conditions say: both sides
// of each Fn::If, without AWS::NoValue.
func choices(v any) (all []any) {
	if l, ok := v.([]any); ok {
		for _, item := range l {
			all = append(all, choices(item)...)
		}
		return all
	}
	if branch, ok := at(v, "Fn::If").([]any); ok {
		return choices(branch[1:])
	}
	if at(v, "Ref") == "AWS::NoValue" {
		return nil
	}
	return []any{v}
}

// each calls do for every resource of a type, and fails where there is none.
func each(t *testing.T, kind string, do func(tmpl *template, name string, r resource)) {
	t.Helper()
	found := 0
	for _, tmpl := range templates(t) {
		for name, r := range tmpl.Resources {
			if r.Type == kind {
				found++
				do(tmpl, name, r)
			}
		}
	}
	if found == 0 {
		t.Errorf("no template has a resource of type %s", kind)
	}
}

// samplePolicy loads ecs/egress.yaml.
func samplePolicy(t *testing.T) *config.Config {
	t.Helper()
	cfg, err := config.Parse("egress.yaml", []byte(read(t, "ecs/egress.yaml")), nil)
	if err == nil {
		_, _, err = cfg.Compile()
	}
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// rows returns the cells of every Markdown table of a text whose head begins with the given
// cell, head and rule left out, backquotes taken off.
func rows(t *testing.T, text, head string) (all [][]string) {
	t.Helper()
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			inside = false
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.ReplaceAll(strings.TrimSpace(cells[i]), "`", "")
		}
		switch {
		case cells[0] == head:
			inside = true
		case inside && !strings.HasPrefix(cells[0], "---"):
			all = append(all, cells)
		}
	}
	if len(all) == 0 {
		t.Fatalf("no table has a head that begins with %q", head)
	}
	return all
}

// What is longer cannot be given to CloudFormation without a bucket to put it into.
func TestTemplatesAreShortEnoughToBeSent(t *testing.T) {
	t.Parallel()
	for name := range templates(t) {
		if n := len(read(t, "ecs/"+name)); n > 51_200 {
			t.Errorf("%s has %d bytes, over 51,200", name, n)
		}
	}
}

func TestEveryParameterAndOutputSaysWhatItIs(t *testing.T) {
	t.Parallel()
	for _, tmpl := range templates(t) {
		for name, p := range tmpl.Parameters {
			if len(p.Description) < 10 {
				t.Errorf("%s: parameter %s does not say what to put", tmpl.name, name)
			}
		}
		for name, o := range tmpl.Outputs {
			if o.Description == "" {
				t.Errorf("%s: output %s does not say what it is", tmpl.name, name)
			}
		}
	}
}

// A parameter without a default is filled from an output of another template, or is one
// of these that the README makes.
func TestEveryParameterWithoutADefaultComesFromSomewhere(t *testing.T) {
	t.Parallel()
	all := templates(t)
	made := map[string]bool{"Image": true, "GitHubRepository": true, "CodeBucket": true, "CodeKey": true, "Control": true, "PostureImage": true}
	outputs := map[string]bool{}
	for _, tmpl := range all {
		for name := range tmpl.Outputs {
			outputs[name] = true
		}
	}
	readme := read(t, "ecs/README.md")
	for _, tmpl := range all {
		for name, p := range tmpl.Parameters {
			if p.Default != nil {
				continue
			}
			if !outputs[name] && !made[name] {
				t.Errorf("%s: parameter %s has no default and is no output of another template", tmpl.name, name)
			}
			if !strings.Contains(readme, name+`="`) {
				t.Errorf("README.md does not set %s of %s", name, tmpl.name)
			}
		}
	}
}

// What the README names of the templates, and of the shell, must be there.
func TestREADMENamesNothingThatIsNotDefined(t *testing.T) {
	t.Parallel()
	readme := read(t, "ecs/README.md")
	all := templates(t)
	all["layer.yaml"] = readTemplate(t, "lambda/layer.yaml")
	stacks := map[string]string{ // as the README calls them
		"egress-layer": "layer.yaml",
		"egress-store": "store.yaml", "egress-network": "network.yaml", "egress-proxy": "proxy.yaml", "egress-watch": "watch.yaml",
		"egress-sample": "function.yaml", "egress-dns": "dns-firewall.yaml", "egress-pipeline": "pipeline.yaml", "egress-probe": "probe.yaml", "egress-posture": "posture.yaml",
	}
	for _, m := range regexp.MustCompile(`output (egress-\w+) (\w+)`).FindAllStringSubmatch(readme, -1) {
		tmpl := all[stacks[m[1]]]
		if tmpl == nil {
			t.Errorf("README.md reads an output of %s, which is no stack", m[1])
		} else if _, ok := tmpl.Outputs[m[2]]; !ok {
			t.Errorf("README.md reads output %s of %s, which %s does not have", m[2], m[1], tmpl.name)
		}
	}
	deploys := regexp.MustCompile(`--stack-name (egress-\w+) --template-file deploy/ecs/(\S+)`).FindAllStringSubmatch(readme, -1)
	for _, m := range deploys {
		if stacks[m[1]] != m[2] {
			t.Errorf("README.md makes %s of %s", m[1], m[2])
		}
	}
	if len(deploys) < 5 {
		t.Errorf("README.md deploys %d times", len(deploys))
	}
	parameters := map[string]bool{}
	for _, tmpl := range all {
		for name := range tmpl.Parameters {
			parameters[name] = true
		}
	}
	for _, m := range regexp.MustCompile(`[ \x60]([A-Z][a-zA-Z0-9]*[a-z][a-zA-Z0-9]*)=`).FindAllStringSubmatch(readme, -1) {
		if !parameters[m[1]] && m[1] != "Name" && m[1] != "Key" { // which the AWS CLI wants
			t.Errorf("README.md sets %s, which no template has", m[1])
		}
	}
	// Shell variables are set in a block before they are used in one.
	set := map[string]bool{}
	for _, block := range regexp.MustCompile("(?ms)^ *```bash\n(.*?)^ *```").FindAllStringSubmatch(readme, -1) {
		for _, m := range regexp.MustCompile(`(?m)(?:^|\s)(?:export )?([A-Z_]+)=|\$\{?([A-Z_]{2,})`).FindAllStringSubmatch(block[1], -1) {
			switch {
			case m[1] != "":
				set[m[1]] = true
			case !set[m[2]]:
				t.Errorf("README.md uses $%s before it is set", m[2])
			}
		}
	}
}
