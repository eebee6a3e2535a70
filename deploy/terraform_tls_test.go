package deploy

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// apart are the parameters of proxy.yaml that the module has not, or not so, and why.
var apart = map[string]string{
	"Zones":                   "the module counts proxy_subnets",
	"Size":                    "cpu and memory",
	"DnsFilter":               "the module has no DNS filter",
	"EndpointSecurityGroupId": "the rule stands in the root",
}

// Every other parameter is a variable of its name in lower case, and has its default.
func TestTerraformProxyTakesTheParametersOfTheTemplate(t *testing.T) {
	t.Parallel()
	given := map[string]cty.Value{}
	for _, name := range []string{"name", "vpc_id", "function_security_group_id", "image", "policy_bucket", "log_group"} {
		given[name] = cty.StringVal("given")
	}
	given["proxy_subnets"] = texts("a", "b")
	variables := applied(t, "terraform/proxy", given).context.Variables["var"].AsValueMap()
	truth := map[string]string{"yes": "true", "no": "false"}
	for parameter, of := range templates(t)["proxy.yaml"].Parameters {
		v, ok := variables[snake(parameter)]
		if apart[parameter] != "" || !ok {
			if ok == (apart[parameter] != "") {
				t.Errorf("%s: a variable of the module is %t, and apart for %q", parameter, ok, apart[parameter])
			}
			continue
		}
		if _, ok := given[snake(parameter)]; ok {
			continue
		}
		got, want := fmt.Sprint(plain(t, v)), fmt.Sprint(of.Default)
		if v.Type().Equals(cty.Bool) && truth[want] != "" {
			want = truth[want]
		}
		if of.Type == "CommaDelimitedList" {
			got = strings.Trim(got, "[]")
		}
		if got != want {
			t.Errorf("%s is %q by itself, %s %q", snake(parameter), got, parameter, want)
		}
	}
}

// A service is made once a listener stands before each of its targets; in the template a tag
// says so.
func TestTerraformServiceWaitsForItsListeners(t *testing.T) {
	t.Parallel()
	file, diagnostics := hclsyntax.ParseConfig([]byte(read(t, "terraform/proxy/main.tf")), "main.tf", hcl.InitialPos)
	if diagnostics.HasErrors() {
		t.Fatal(diagnostics)
	}
	var listeners, waits []string
	for _, b := range file.Body.(*hclsyntax.Body).Blocks {
		switch {
		case len(b.Labels) == 2 && b.Labels[0] == "aws_lb_listener":
			listeners = append(listeners, strings.Join(b.Labels, "."))
		case slices.Equal(b.Labels, []string{"aws_ecs_service", "proxy"}):
			waits = wanted(b.Body.Attributes["depends_on"].Expr.Variables())
		}
	}
	if len(listeners) < 2 {
		t.Fatalf("the listeners are %v", listeners)
	}
	for _, name := range listeners {
		if !slices.Contains(waits, name) {
			t.Errorf("the service does not wait for %s", name)
		}
	}
}

// The module of the function reaches the TLS listener that the module of the proxy makes, by
// the name that the proxy's certificate has.
func TestTerraformFunctionReachesTheTLSListenerOfTheProxy(t *testing.T) {
	t.Parallel()
	given := map[string]cty.Value{"proxy_subnets": texts("a", "b"), "tls": cty.True}
	for _, name := range []string{"name", "vpc_id", "image", "policy_bucket", "log_group"} {
		given[name] = cty.StringVal("given")
	}
	given["function_security_group_id"] = ofFunction()["function_security_group_id"]
	for _, domain := range []string{"", "proxy.example.com"} {
		given["proxy_domain"] = cty.StringVal(domain)
		proxy := applied(t, "terraform/proxy", given)
		host := proxy.output("proxy_host")
		if want := "${aws_lb.proxy.dns_name}"; host.AsString() != cmp.Or(domain, want) {
			t.Errorf("with the domain %q the proxy is %s", domain, host.AsString())
		}
		variables := ofFunction()
		variables["proxy_host"] = host
		function := applied(t, "terraform/function", variables)
		got := at(function.Resources["aws_lambda_function.this"]["environment"], 0, "variables", "EGRESS_PROXY")
		if want := fmt.Sprintf("https://%s:%v", host.AsString(), proxy.Resources["aws_lb_listener.tls"]["port"]); got != want {
			t.Errorf("the function goes to %v, the listener is %s", got, want)
		}
		out := proxy.Resources["aws_vpc_security_group_egress_rule.functions_to_balancer_tls"]
		if group := at(function.Resources["aws_lambda_function.this"]["vpc_config"], 0, "security_group_ids", 0); group != out["security_group_id"] || out["to_port"] != proxy.Resources["aws_lb_listener.tls"]["port"] {
			t.Errorf("the function wears %v, and out may %v", group, out)
		}
	}
}

// What the root gives a module is a variable of it, and what a module has no default for is
// given; terraform validate says the same where the provider can be fetched.
func TestTerraformRootGivesItsModulesWhatTheyTake(t *testing.T) {
	t.Parallel()
	blocks := func(name string) hclsyntax.Blocks {
		file, diagnostics := hclsyntax.ParseConfig([]byte(read(t, name)), name, hcl.InitialPos)
		if diagnostics.HasErrors() {
			t.Fatal(diagnostics)
		}
		return file.Body.(*hclsyntax.Body).Blocks
	}
	taken := func(dir string) map[string]bool { // by variable: whether it must be given
		all := map[string]bool{}
		names, _ := filepath.Glob(filepath.Join("terraform", dir, "*.tf"))
		for _, name := range names {
			for _, b := range blocks(name) {
				if b.Type == "variable" {
					all[b.Labels[0]] = b.Body.Attributes["default"] == nil
				}
			}
		}
		return all
	}
	root := taken(".")
	for _, b := range blocks("terraform/main.tf") {
		for _, traversal := range variables(b.Body) {
			if name := wanted([]hcl.Traversal{traversal}); traversal.RootName() == "var" {
				if _, ok := root[strings.TrimPrefix(name[0], "var.")]; !ok {
					t.Errorf("the root has no %s", name[0])
				}
			}
		}
		if b.Type != "module" {
			continue
		}
		takes := taken(b.Labels[0])
		for name := range b.Body.Attributes {
			if _, ok := takes[name]; !ok && name != "source" {
				t.Errorf("module %s takes no %s", b.Labels[0], name)
			}
		}
		for name, must := range takes {
			if must && b.Body.Attributes[name] == nil {
				t.Errorf("module %s is not given %s", b.Labels[0], name)
			}
		}
	}
}
