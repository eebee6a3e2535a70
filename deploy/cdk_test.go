package deploy

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// synthesized runs cdk synth on an app of cdk/ and returns the folder with its templates. The
// CDK is what npm ci makes of cdk/package-lock.json, in a folder outside of this repository,
// because it has files that the Go tools take for theirs: EGRESS_NODE_MODULES names it.
func synthesized(t *testing.T, app string, context string, env ...string) string {
	t.Helper()
	modules := os.Getenv("EGRESS_NODE_MODULES")
	if modules == "" {
		t.Skip("EGRESS_NODE_MODULES does not say where the CDK is installed; see CONTRIBUTING.md")
	}
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is not installed")
	}
	out := t.TempDir()
	args := append(strings.Fields("synth --quiet --no-notices --no-version-reporting --output"), out, "--app", "node "+app, "--context", context)
	cmd := exec.Command(filepath.Join(modules, ".bin", "cdk"), args...)
	cmd.Dir = "cdk"
	cmd.Env = append(os.Environ(), append(env, "NODE_PATH="+modules, "CDK_DISABLE_CLI_TELEMETRY=true", "CI=true")...)
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cdk synth: %v\n%s", err, said)
	}
	return out
}

// The constructs make what the templates make, resource by resource, whatever the parameters.
func TestCDKConstructsAreTheTemplates(t *testing.T) {
	t.Parallel()
	for what, of := range map[string]map[string]settings{
		"defaults": {"store.yaml": {}, "network.yaml": {}, "proxy.yaml": {}, "watch.yaml": {}, "dns-firewall.yaml": {}},
		"options": {
			"store.yaml":        {"KmsKeyArn": "arn:aws:kms:eu-west-1:111122223333:key/1"},
			"network.yaml":      {"Zones": "3", "VpcSize": "20", "NatGateways": "one", "Sts": "yes", "FurtherEndpoint1": "com.amazonaws.eu-west-1.kms", "OrganizationId": "o-aaaaaaaaaa"},
			"proxy.yaml":        {"Zones": "3", "Size": "large", "DnsFilter": "on", "OtherPorts": "8443,9000-9010", "DeletionProtection": "no", "MinimumTasks": "4"},
			"watch.yaml":        {"AlarmEmail": "a@example.com", "FunctionMetrics": "false"},
			"dns-firewall.yaml": {"EndpointNames": "sts.eu-west-1.amazonaws.com", "Action": "ALERT"},
		},
	} {
		out := synthesized(t, "test/app.js", "name=test", "EGRESS_PARAMETERS="+constructParameters(t, of), "EGRESS_LAYER="+attested["LayerArn"], "EGRESS_AUDIENCE="+attested["TokenAudience"])
		attestedByCDK(t, readTemplate(t, filepath.Join(out, "attested.template.json")))
		for name, given := range of {
			want := deployed(t, name, given)
			tmpl := readTemplate(t, filepath.Join(out, strings.Replace(name, ".yaml", ".template.json", 1)))
			tmpl.name = name
			left := settings{} // what the app gave is no parameter any more
			for parameter := range tmpl.Parameters {
				if value, ok := given[parameter]; ok {
					t.Errorf("%s, %s: %s=%s was given and is still asked for", what, name, parameter, value)
				}
			}
			delete(tmpl.Parameters, "BootstrapVersion")
			got := fill(t, tmpl, left)
			delete(got.Resources, "CDKMetadata")
			sameResources(t, want.Resources, got.Resources)
			for output, value := range want.Outputs {
				if text(t, got.Outputs[output]) != text(t, value) {
					t.Errorf("%s, %s: output %s is %s, want %s", what, name, output, text(t, got.Outputs[output]), text(t, value))
				}
			}
			if name == "proxy.yaml" {
				sameVariables(t, got)
			}
		}
	}
}

// constructParameters returns the parameters of every construct as JSON, those without a
// default too; lists are lists there.
func constructParameters(t *testing.T, of map[string]settings) string {
	t.Helper()
	all := map[string]map[string]any{}
	for name, given := range of {
		all[name] = map[string]any{}
		tmpl := templates(t)[name]
		for parameter, p := range tmpl.Parameters {
			value, ok := given[parameter]
			if !ok && p.Default == nil {
				value, ok = required[parameter]
			}
			if !ok {
				continue
			}
			all[name][parameter] = value
			if strings.HasPrefix(p.Type, "List<") || p.Type == "CommaDelimitedList" {
				all[name][parameter] = strings.Split(value, ",")
			}
			if p.Type == "Number" {
				all[name][parameter] = json.Number(value)
			}
		}
	}
	return text(t, all)
}

// sameVariables compares what environment() returns with the variables of function.yaml.
func sameVariables(t *testing.T, proxy *stack) {
	t.Helper()
	function := deployed(t, "function.yaml", settings{"PolicyName": "sample", "TokenSecretArn": "arn:secret", "TokenVersion": "1", "ProxyHost": fmt.Sprint(proxy.Outputs["ProxyHost"])})
	want, _ := at(function.Resources["Function"].Properties, "Environment", "Variables").(map[string]any)
	compared := 0
	for name, value := range want {
		if !regexp.MustCompile(`(?i)_proxy$`).MatchString(name) {
			continue
		}
		compared++
		if got := proxy.Outputs["Variable"+strings.Replace(name, "_", "0", 1)]; got != value {
			t.Errorf("environment() has %s=%v, function.yaml %v", name, got, value)
		}
	}
	if compared != 6 {
		t.Errorf("%d variables, want 6", compared)
	}
}

// attestedByCDK compares a function that attest() has changed with function.yaml: the same
// layer, variables and statement, and no secret.
func attestedByCDK(t *testing.T, tmpl *template) {
	t.Helper()
	want := deployed(t, "function.yaml", attested).Resources
	if found := secrets.FindString(text(t, tmpl.Resources)); found != "" {
		t.Errorf("the stack of an attested function has %q", found)
	}
	variables, _ := at(want["Function"].Properties, "Environment", "Variables").(map[string]any)
	functions, policies := 0, 0
	for _, r := range tmpl.Resources {
		switch r.Type {
		case "AWS::Lambda::Function":
			functions++
			r.want(t, []any{attested["LayerArn"]}, "Layers")
			got, _ := at(r.Properties, "Environment", "Variables").(map[string]any)
			for name, value := range variables {
				switch {
				case strings.HasSuffix(name, "_URL"):
				case name == "EGRESS_PROXY": // the host is an output of another stack
					if s := text(t, got[name]); !strings.Contains(s, `"https://"`) || !strings.Contains(s, `":3129"`) {
						t.Errorf("attest() has %s=%s", name, s)
					}
				case got[name] != value:
					t.Errorf("attest() has %s=%v, function.yaml %v", name, got[name], value)
				}
			}
			if len(got) != len(variables)-2 {
				t.Errorf("attest() sets %d variables, function.yaml %d beside its own", len(got), len(variables)-2)
			}
		case "AWS::IAM::Policy":
			policies++
			all, _ := at(want["Role"].Properties, "Policies", 0, "PolicyDocument", "Statement").([]any)
			r.want(t, all[len(all)-1:], "PolicyDocument", "Statement")
		}
	}
	if functions != 1 || policies != 1 {
		t.Errorf("%d functions, %d policies", functions, policies)
	}
}

// The app that is there to be copied synthesizes, wired.
func TestCDKAppSynthesizes(t *testing.T) {
	t.Parallel()
	out := synthesized(t, "bin/egress.js", "image=111122223333.dkr.ecr.eu-west-1.amazonaws.com/egress:v1.0.0")
	for _, stack := range []string{"egress-store", "egress-network", "egress-proxy", "egress-watch"} {
		if _, err := os.Stat(filepath.Join(out, stack+".template.json")); err != nil {
			t.Error(err)
		}
	}
}
