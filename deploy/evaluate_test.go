package deploy

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// settings are the parameters of a stack, by name, as the command line gives them.
type settings map[string]string

// stack is a template with its parameters filled in: what CloudFormation would make. What
// only a service knows stays as a text: ${LogGroup} for a reference, ${LogGroup.Arn} for an
// attribute.
type stack struct {
	t          *testing.T
	template   *template
	parameters map[string]any
	pseudo     map[string]string
	Resources  map[string]resource
	Outputs    map[string]any
}

// pseudo are the parameters that CloudFormation itself sets.
var pseudo = map[string]string{
	"AWS::AccountId": "111122223333", "AWS::Partition": "aws", "AWS::Region": "eu-west-1", "AWS::URLSuffix": "amazonaws.com",
	"AWS::StackName": "gate-of-eu", "AWS::StackId": "arn:aws:cloudformation:eu-west-1:111122223333:stack/gate-of-eu/51af3dc0-da77-11e4-872e-1234567db123",
}

// noValue is what AWS::NoValue stands for: whatever has it is not there.
type noValue struct{}

// required are values of the parameters that have no default.
var required = settings{
	"VpcId": "vpc-0aaa", "ProxySubnets": "subnet-0aaa,subnet-0bbb", "FunctionSecurityGroupId": "sg-0ccc", "PolicyBucket": "policies", "LogGroup": "records",
	"PostureImage": "111122223333.dkr.ecr.eu-west-1.amazonaws.com/egress:posture-v1.0.0",
	"Image":        "111122223333.dkr.ecr.eu-west-1.amazonaws.com/egress:v1.0.0", "FunctionSubnets": "subnet-0ccc,subnet-0ddd", "ProxyHost": "proxy.internal",
	"Deployment": "gate-of-eu", "Cluster": "gate-of-eu", "Service": "gate-of-eu-Service", "TargetGroup": "targetgroup/gate/1", "LoadBalancer": "net/gate/1",
	"GitHubRepository": "example/egress-policy", "CodeBucket": "programs", "CodeKey": "probe.zip", "Control": "allowed.example:443",
	"LeastTasks": "2", "MaximumTasks": "8", "FunctionMetrics": "true",
	"TokenSecretArn": "arn:aws:secretsmanager:eu-west-1:111122223333:secret:egress", "TokenVersion": "11111111-2222-3333-4444-555555555555",
}

// deployed fills parameters in, and fails where CloudFormation would refuse one.
func deployed(t *testing.T, name string, given settings) *stack {
	t.Helper()
	return fill(t, templates(t)[name], given)
}

// fill fills parameters into a template, and fails where a rule of it refuses them.
func fill(t *testing.T, tmpl *template, given settings) *stack {
	t.Helper()
	s := with(t, tmpl, given)
	if why := s.refused(); why != "" {
		t.Fatalf("%s with %v is refused: %s", tmpl.name, given, why)
	}
	s.make()
	return s
}

// with fills parameters into a template, and makes nothing of it.
func with(t *testing.T, tmpl *template, given settings) *stack {
	t.Helper()
	values := maps.Clone(given)
	if values == nil {
		values = settings{}
	}
	for name, value := range required {
		if _, ok := values[name]; !ok && tmpl.Parameters[name].Description != "" {
			values[name] = value
		}
	}
	s := &stack{t: t, template: tmpl, parameters: map[string]any{}, pseudo: pseudo, Resources: map[string]resource{}, Outputs: map[string]any{}}
	for name := range values {
		if _, ok := tmpl.Parameters[name]; !ok {
			t.Fatalf("%s has no parameter %s", tmpl.name, name)
		}
	}
	for name := range tmpl.Parameters {
		value, err := tmpl.parameter(name, values)
		if err != nil {
			t.Fatalf("%s: %v", tmpl.name, err)
		}
		s.parameters[name] = value
	}
	return s
}

// refused returns what a rule of the template says against the parameters, "" for nothing.
func (s *stack) refused() string {
	s.t.Helper()
	for _, name := range slices.Sorted(maps.Keys(s.template.Rules)) {
		r := s.template.Rules[name]
		if r.RuleCondition != nil && !s.holds(r.RuleCondition) {
			continue
		}
		for _, a := range r.Assertions {
			if !s.holds(a.Assert) {
				return a.AssertDescription
			}
		}
	}
	return ""
}

// make evaluates what is made.
func (s *stack) make() {
	s.t.Helper()
	for name, r := range s.template.Resources {
		if r.Condition == "" || s.condition(r.Condition) {
			r.Properties, _ = s.value(r.Properties).(map[string]any)
			s.Resources[name] = r
		}
	}
	for name, o := range s.template.Outputs {
		s.Outputs[name] = s.value(o.Value)
	}
}

// parameter returns the value of a parameter, or why CloudFormation refuses it.
func (tmpl *template) parameter(name string, given settings) (any, error) {
	p := tmpl.Parameters[name]
	value, ok := given[name]
	if !ok {
		if p.Default == nil {
			return nil, fmt.Errorf("parameter %s has no value", name)
		}
		value = fmt.Sprint(p.Default)
	}
	isList := p.Type == "CommaDelimitedList" || strings.HasPrefix(p.Type, "List<")
	items := []string{value}
	if isList {
		items = strings.Split(value, ",")
	}
	pattern := regexp.MustCompile("^(?:" + p.AllowedPattern + ")$")
	for _, item := range items {
		if p.AllowedPattern != "" && !pattern.MatchString(item) {
			return nil, fmt.Errorf("parameter %s: %q does not match %s", name, item, p.AllowedPattern)
		}
	}
	if len(p.AllowedValues) > 0 && !slices.ContainsFunc(p.AllowedValues, func(v any) bool { return fmt.Sprint(v) == value }) {
		return nil, fmt.Errorf("parameter %s: %q is none of %v", name, value, p.AllowedValues)
	}
	if p.Type == "Number" {
		n, err := strconv.Atoi(value)
		if err != nil || p.MinValue != nil && n < *p.MinValue || p.MaxValue != nil && n > *p.MaxValue {
			return nil, fmt.Errorf("parameter %s: %q is no number in its range", name, value)
		}
		return n, nil
	}
	if !isList {
		return value, nil
	}
	var list []any
	for _, item := range items {
		list = append(list, item)
	}
	return list, nil
}

// condition says whether a condition of the template holds.
func (s *stack) condition(name string) bool {
	s.t.Helper()
	body, ok := s.template.Conditions[name]
	if !ok {
		s.t.Fatalf("%s has no condition %s", s.template.name, name)
	}
	return s.holds(body)
}

// holds evaluates a condition.
func (s *stack) holds(v any) bool {
	s.t.Helper()
	for function, args := range v.(map[string]any) {
		if name, ok := args.(string); ok && function == "Condition" {
			return s.condition(name)
		}
		list, _ := args.([]any)
		switch function {
		case "Fn::Equals":
			return fmt.Sprint(s.value(list[0])) == fmt.Sprint(s.value(list[1]))
		case "Fn::Not":
			return !s.holds(list[0])
		case "Fn::And":
			return !slices.ContainsFunc(list, func(c any) bool { return !s.holds(c) })
		case "Fn::Or":
			return slices.ContainsFunc(list, s.holds)
		}
	}
	s.t.Fatalf("%s: no condition: %v", s.template.name, v)
	return false
}

// value evaluates a value of the template.
func (s *stack) value(v any) any {
	s.t.Helper()
	switch v := v.(type) {
	case []any:
		all := []any{}
		for _, item := range v {
			if item = s.value(item); item != (any)(noValue{}) {
				all = append(all, item)
			}
		}
		return all
	case map[string]any:
		if len(v) == 1 {
			for function, args := range v {
				if function == "Ref" || strings.HasPrefix(function, "Fn::") {
					return s.call(function, args)
				}
			}
		}
		all := map[string]any{}
		for key, item := range v {
			if item = s.value(item); item != (any)(noValue{}) {
				all[key] = item
			}
		}
		return all
	default:
		return v
	}
}

// call evaluates a function.
func (s *stack) call(function string, args any) any {
	s.t.Helper()
	switch function {
	case "Ref":
		return s.ref(args.(string))
	case "Fn::GetAtt":
		name, ok := args.(string)
		if list, isList := args.([]any); isList && !ok {
			name = fmt.Sprintf("%v.%v", list[0], list[1])
		}
		return s.attribute(name)
	case "Fn::Sub":
		return regexp.MustCompile(`\$\{([^}]+)\}`).ReplaceAllStringFunc(args.(string), func(m string) string {
			name := m[2 : len(m)-1]
			if strings.Contains(name, ".") {
				return fmt.Sprint(s.attribute(name))
			}
			return fmt.Sprint(s.ref(name))
		})
	case "Fn::GetAZs":
		region := pseudo["AWS::Region"]
		return []any{region + "a", region + "b", region + "c"}
	}
	list := args.([]any)
	switch function {
	case "Fn::If":
		if s.condition(list[0].(string)) {
			return s.value(list[1])
		}
		return s.value(list[2])
	case "Fn::Join":
		var parts []string
		for _, item := range s.value(list[1]).([]any) {
			parts = append(parts, fmt.Sprint(item))
		}
		return strings.Join(parts, list[0].(string))
	case "Fn::Split":
		var parts []any
		for part := range strings.SplitSeq(fmt.Sprint(s.value(list[1])), list[0].(string)) {
			parts = append(parts, part)
		}
		return parts
	case "Fn::Select":
		from, i := s.value(list[1]).([]any), list[0].(int)
		if i >= len(from) {
			s.t.Fatalf("%s: item %d of %v", s.template.name, i, from)
		}
		return from[i]
	case "Fn::FindInMap":
		return s.template.Mappings[list[0].(string)][fmt.Sprint(s.value(list[1]))][fmt.Sprint(s.value(list[2]))]
	case "Fn::Cidr":
		return cut(s.t, fmt.Sprint(s.value(list[0])), list[1].(int), 32-s.value(list[2]).(int))
	default:
		s.t.Fatalf("%s: %s is not known here", s.template.name, function)
		return nil
	}
}

// ref evaluates a reference.
func (s *stack) ref(name string) any {
	s.t.Helper()
	if name == "AWS::NoValue" {
		return noValue{}
	}
	if value, ok := s.pseudo[name]; ok {
		return value
	}
	if value, ok := s.parameters[name]; ok {
		return value
	}
	if _, ok := s.template.Resources[name]; !ok {
		s.t.Fatalf("%s: nothing is called %s", s.template.name, name)
	}
	return "${" + name + "}"
}

// attribute evaluates an attribute; a range is that of the template.
func (s *stack) attribute(name string) any {
	s.t.Helper()
	of, attribute, _ := strings.Cut(name, ".")
	r, ok := s.template.Resources[of]
	if !ok {
		s.t.Fatalf("%s: nothing is called %s", s.template.name, of)
	}
	if attribute == "CidrBlock" {
		return s.value(r.Properties["CidrBlock"])
	}
	return "${" + name + "}"
}

// cut returns the first parts of a range, each with a prefix of so many bits.
func cut(t *testing.T, block string, count, bits int) (parts []any) {
	t.Helper()
	p, err := netip.ParsePrefix(block)
	if err != nil || bits < p.Bits() || bits > 32 || count > 1<<(bits-p.Bits()) {
		t.Fatalf("%s has no %d ranges of /%d: %v", block, count, bits, err)
	}
	b := p.Masked().Addr().As4()
	at := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	for i := range count {
		n := at + uint32(i)<<(32-bits)
		parts = append(parts, netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), bits).String())
	}
	return parts
}
