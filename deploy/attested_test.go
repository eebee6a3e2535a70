package deploy

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"
)

// attested are the settings of function.yaml with which AWS attests who the function is.
var attested = settings{
	"LayerArn": "arn:aws:lambda:eu-west-1:111122223333:layer:egress-layer:1", "TokenAudience": "https://egress.example.internal", "TokenSecretArn": "", "TokenVersion": "",
}

// secrets is what a stack with a secret in it has: a reference to one, a user in a URL, or
// the name of a parameter that is for one.
var secrets = regexp.MustCompile(`(?i)\{\{resolve:|secretsmanager|://[^/"]*@|"NoEcho"|password`)

// With the layer no secret stands anywhere in what is made, nor in what the function is
// told; without it there is one, which shows that the search finds it.
func TestAttestedFunctionHasNoSecret(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"function.yaml", "probe.yaml"} {
		if found := secrets.FindString(text(t, deployed(t, name, attested).Resources)); found != "" {
			t.Errorf("%s: the stack of an attested function has %q", name, found)
		}
		if !secrets.MatchString(text(t, deployed(t, name, nil).Resources)) {
			t.Errorf("%s: the stack of a function with a token has no secret that is found", name)
		}
	}
	if found := secrets.FindString(text(t, ofSAM(t, attested).Resources)); found != "" {
		t.Errorf("the stack of an attested function of SAM has %q", found)
	}
	if !secrets.MatchString(text(t, ofSAM(t, nil).Resources)) {
		t.Error("the stack of a function of SAM with a token has no secret that is found")
	}
	// Nor does the state of Terraform, for the module has no function with a token.
	if found := secrets.FindString(text(t, applied(t, "terraform/function", ofFunction()).Resources)); found != "" {
		t.Errorf("the module of an attested function has %q", found)
	}
}

// The names of the variables are those that the extension and its wrapper read.
func TestAttestedFunctionIsSetUpForTheExtension(t *testing.T) {
	t.Parallel()
	function := deployed(t, "function.yaml", attested).Resources["Function"]
	variables, _ := at(function.Properties, "Environment", "Variables").(map[string]any)
	function.want(t, []any{attested["LayerArn"]}, "Layers")
	want := map[string]any{
		"EGRESS_PROXY": "https://proxy.internal:3129", "EGRESS_AUDIENCE": attested["TokenAudience"], "AWS_LAMBDA_EXEC_WRAPPER": "/opt/egress/wrapper",
		"NO_PROXY": "127.0.0.1,localhost,169.254.100.1", "no_proxy": "127.0.0.1,localhost,169.254.100.1",
	}
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		if got := variables[name]; !strings.HasSuffix(name, "_URL") && got != want[name] {
			t.Errorf("%s is %v, want %v", name, got, want[name])
		}
	}
	for name := range want {
		if _, ok := variables[name]; !ok {
			t.Errorf("%s is not set", name)
		}
		if readme := read(t, "lambda/README.md"); !strings.EqualFold(name, "no_proxy") && !strings.Contains(readme, "`"+name) {
			t.Errorf("the page of the extension has no %s", name)
		}
	}
	other := maps.Clone(attested)
	other["ProxyCa"] = "/opt/egress/ca.pem"
	deployed(t, "function.yaml", other).Resources["Function"].want(t, "/opt/egress/ca.pem", "Environment", "Variables", "EGRESS_CA")
}

// Tokens for another audience are given neither to the function nor through the endpoint,
// whatever else its role may do.
func TestTokensAreGivenForTheAudienceOfTheProxyAlone(t *testing.T) {
	t.Parallel()
	const ours, other, organization = "https://egress.example.internal", "https://evil.example", "o-aaaaaaaaaa"
	asking := func(account, org string, audiences ...string) request {
		return request{action: "sts:GetWebIdentityToken", resource: "*", context: map[string][]string{
			"sts:IdentityTokenAudience": audiences, "aws:PrincipalAccount": {account}, "aws:PrincipalOrgID": {org},
		}}
	}
	role := deployed(t, "function.yaml", attested).Resources["Role"].Properties
	ofTerraform := applied(t, "terraform/function", ofFunction()).Resources["aws_iam_role_policy.function"]["policy"]
	endpoint := func(org string) any {
		return deployed(t, "network.yaml", settings{"Sts": "yes", "TokenAudience": ours, "OrganizationId": org}).Resources["StsEndpoint"].Properties["PolicyDocument"]
	}
	endpointOfTerraform := func(org string) any {
		return applied(t, "terraform/network", map[string]cty.Value{
			"name": cty.StringVal("network"), "availability_zones": texts("eu-west-1a"), "interface_endpoints": cty.SetVal([]cty.Value{cty.StringVal("sts")}),
			"token_audience": cty.StringVal(ours), "organization_id": cty.StringVal(org),
		}).Resources["aws_vpc_endpoint.interface[sts]"]["policy"]
	}
	alone, ofTheOrg := endpointOfTerraform(""), endpointOfTerraform(organization)
	for what, row := range map[string]struct {
		request                          request
		role, endpoint, endpointOfTheOrg decision
	}{
		"for the proxy":                   {asking("111122223333", organization, ours), allowed, allowed, allowed},
		"for somebody else":               {asking("111122223333", organization, other), silent, denied, denied},
		"for both":                        {asking("111122223333", organization, ours, other), silent, denied, denied},
		"for the name with a slash":       {asking("111122223333", organization, ours+"/"), silent, denied, denied},
		"by another account of the group": {asking("999999999999", organization, ours), allowed, silent, allowed},
		"by a stranger":                   {asking("999999999999", "o-bbbbbbbbbb", ours), allowed, silent, silent},
	} {
		for where, of := range map[string]struct {
			document any
			want     decision
		}{
			"the role":                               {at(role, "Policies", 0, "PolicyDocument"), row.role},
			"the role of SAM":                        {at(ofSAM(t, attested).Resources["Role"].Properties, "Policies", 0, "PolicyDocument"), row.role},
			"the role of Terraform":                  {ofTerraform, row.role},
			"the endpoint":                           {endpoint(""), row.endpoint},
			"the endpoint of the whole organization": {endpoint(organization), row.endpointOfTheOrg},
			"the endpoint of Terraform":              {alone, row.endpoint},
			"that of the whole organization":         {ofTheOrg, row.endpointOfTheOrg},
		} {
			if got := simulate(t, of.document, row.request); got != of.want {
				t.Errorf("a token %s: %s: %s, want %s", what, where, got, of.want)
			}
		}
	}
	// A resource of ours in the request changes nothing.
	r := asking("111122223333", organization, other)
	r.context["aws:ResourceAccount"] = []string{"111122223333"}
	if got := simulate(t, endpoint(""), r); got != denied {
		t.Errorf("a token for somebody else with a resource of ours: %s", got)
	}
	// Without the layer the function gets no token at all.
	if got := simulate(t, at(deployed(t, "function.yaml", nil).Resources["Role"].Properties, "Policies", 0, "PolicyDocument"), asking("111122223333", organization, ours)); got != silent {
		t.Errorf("a function with a token of the file: %s", got)
	}
}

// The proxy ends TLS itself: a load balancer that did could pass no client certificate on.
// So the listener is plain TCP, with the PROXY header that the policy expects from there, and
// every hop is there with Tls=yes and none without.
func TestTLSIsPassedThroughToTheProxy(t *testing.T) {
	t.Parallel()
	with, without := deployed(t, "proxy.yaml", settings{"Tls": "yes"}), deployed(t, "proxy.yaml", nil)
	for _, r := range with.Resources {
		if r.Type == "AWS::ElasticLoadBalancingV2::Listener" && (r.Properties["Protocol"] != "TCP" || r.Properties["Certificates"] != nil) {
			t.Errorf("the load balancer ends TLS: %s", text(t, r.Properties))
		}
	}
	plain, tls := with.Resources["Targets"], with.Resources["TlsTargets"]
	for key := range plain.Properties {
		if key != "Port" && text(t, plain.Properties[key]) != text(t, tls.Properties[key]) {
			t.Errorf("%s of the targets with TLS is %s, of those without %s", key, text(t, tls.Properties[key]), text(t, plain.Properties[key]))
		}
	}
	if a, b := with.Resources["Listener"].Properties["ListenerAttributes"], with.Resources["TlsListener"].Properties["ListenerAttributes"]; text(t, a) != text(t, b) {
		t.Errorf("idle flows end after %s, with TLS after %s", text(t, a), text(t, b))
	}
	opens := func(of resource, key string) bool { return strings.Contains(text(t, of.Properties[key]), `3129`) }
	for name, s := range map[string]*stack{"with": with, "without": without} {
		there := name == "with"
		for what, got := range map[string]bool{
			"functions to the load balancer":      opens(s.Resources["LoadBalancerSecurityGroup"], "SecurityGroupIngress"),
			"the load balancer to the tasks":      opens(s.Resources["LoadBalancerSecurityGroup"], "SecurityGroupEgress"),
			"out of the functions":                opens(s.Resources["FunctionToProxyTls"], "ToPort"),
			"into the tasks":                      opens(s.Resources["TaskFromLoadBalancerTls"], "ToPort"),
			"the container's port":                opens(s.Resources["Task"], "ContainerDefinitions"),
			"the service behind the TLS listener": opens(s.Resources["Service"], "LoadBalancers"),
			"the port of the targets":             opens(s.Resources["TlsTargets"], "Port"),
			"the port of the listener":            opens(s.Resources["TlsListener"], "Port"),
		} {
			if got != there {
				t.Errorf("%s Tls=yes, %s: %t", name, what, got)
			}
		}
	}
	if !strings.Contains(text(t, with.Resources["Service"].Properties["Tags"]), "TlsListener") {
		t.Error("the service may be made before its listener")
	}
}
