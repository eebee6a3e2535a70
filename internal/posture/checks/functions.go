package checks

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/policydoc"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/snapshot"
)

// proxySettings is P06. Both variables are wanted in one case or the other; most clients
// that read only one of them read it for HTTPS. EGRESS_PROXY is the setting of the Lambda
// extension, whose wrapper sets the others where the function starts.
func proxySettings(s *scope) {
	for _, f := range s.inside() {
		if f.VarsCode != "" || slices.ContainsFunc(f.Layers, s.isLayer) {
			continue // hidden variables are among what could not be read
		}
		i := slices.IndexFunc(f.Vars, func(v snapshot.Var) bool { return strings.EqualFold(v.Name, "HTTPS_PROXY") || v.Name == "EGRESS_PROXY" })
		cure := "Environment.Variables.HTTPS_PROXY: https://NAME:SECRET@GATE:3129, and the others of docs/clients.md"
		if i < 0 {
			s.add(finding.Medium, f.ARN, "neither HTTPS_PROXY, nor EGRESS_PROXY of the extension, nor a layer of the gate", cure, f.Name)
			continue
		}
		u, err := url.Parse(f.Vars[i].Proxy)
		if err != nil || u.Hostname() == "" || s.opts.Proxies != nil && !slices.Contains(s.opts.Proxies, u.Hostname()) {
			s.add(finding.Medium, f.ARN, fmt.Sprintf("%s is %q, which is not the gate", f.Vars[i].Name, f.Vars[i].Proxy), cure, f.Name)
		}
	}
}

// isLayer reports whether a layer is one of the gate's.
func (s *scope) isLayer(arn string) bool {
	return slices.ContainsFunc(s.opts.Layers, func(part string) bool { return part != "" && strings.Contains(arn, part) })
}

// secretKinds says what was seen, by kind of snapshot.Var.
var secretKinds = map[string]string{
	"access_key": "holds an access key of AWS", "private_key": "holds a private key", "url": "holds a URL with a user and a secret",
	"named": "has the name of a secret, and its content refers to none that is kept elsewhere",
}

// plainSecrets is P07. The gate's own token is in a proxy variable, for clients read it
// nowhere else: that is low.
func plainSecrets(s *scope) {
	for _, f := range s.region.Functions {
		for _, v := range f.Vars {
			if v.Secret == "" {
				continue
			}
			severity, seen := finding.High, secretKinds[v.Secret]
			if seen == "" {
				seen = "looks like a secret: " + v.Secret
			}
			if v.Proxy != "" && v.Secret == "url" {
				severity = finding.Low
			}
			s.add(severity, f.ARN+" "+v.Name, v.Name+" "+seen, "put it into Secrets Manager, and give the function its ARN; replace the secret, for it was readable", f.Name)
		}
	}
}

// openURLs is P09.
func openURLs(s *scope) {
	for _, f := range s.region.Functions {
		for _, u := range f.URLs {
			if u.Auth == "AWS_IAM" {
				continue
			}
			cure := "aws lambda update-function-url-config --function-name " + f.Name + " --auth-type AWS_IAM"
			if u.Qualifier != "" {
				cure += " --qualifier " + u.Qualifier
			}
			s.add(finding.High, qualified(f.ARN, u.Qualifier), "AuthType is "+u.Auth, cure, f.Name)
		}
	}
}

// qualified returns an ARN with its qualifier, where it has one.
func qualified(arn, qualifier string) string {
	if qualifier == "" {
		return arn
	}
	return arn + ":" + qualifier
}

// triggers is P11: a list, for whoever has to know.
func triggers(s *scope) {
	for _, f := range s.region.Functions {
		from := slices.Clone(f.Mappings)
		for _, u := range f.URLs {
			from = append(from, "function URL "+u.Auth)
		}
		for _, p := range f.Policies {
			from = append(from, policydoc.Services(p.Document)...)
		}
		if from = sorted(from); len(from) > 0 {
			s.add(finding.Info, f.ARN, strings.Join(from, ", "), "take away those that nobody needs", f.Name)
		}
	}
}

// oneZone is P12.
func oneZone(s *scope) {
	functions, seen := map[string][]string{}, map[string]string{}
	for _, f := range s.inside() {
		zones := []string{}
		for _, id := range f.Network.Subnets {
			if subnet := s.region.SubnetByID(id); subnet != nil {
				zones = append(zones, subnet.Zone)
			} else {
				zones = append(zones, id) // P02 says that it was not seen
			}
		}
		if zones = sorted(zones); len(zones) == 1 && zones[0] != "" {
			key := strings.Join(sorted(f.Network.Subnets), ",")
			functions[key], seen[key] = append(functions[key], f.Name), zones[0]
		}
	}
	for _, key := range sorted(keys(functions)) {
		s.add(finding.Medium, key, "all subnets are in "+seen[key], "VpcConfig.SubnetIds: add a subnet of another zone", functions[key]...)
	}
}

// fewAddresses is P13. A subnet with IPv6 alone has no IPv4 address to run out of.
func fewAddresses(s *scope) {
	least := s.opts.MinFree
	if least == 0 {
		least = DefaultMinFree
	}
	ids, functions := s.bySubnet()
	for _, id := range ids {
		if subnet := s.region.SubnetByID(id); subnet != nil && !subnet.Native && subnet.Free < least {
			s.add(finding.Medium, id, fmt.Sprintf("%d addresses are free, fewer than %d", subnet.Free, least), "add a subnet with a larger block to VpcConfig.SubnetIds", names(functions[id])...)
		}
	}
}

// otherNetworks is P20.
func otherNetworks(s *scope) {
	for _, f := range s.region.Functions {
		for _, v := range f.Versions {
			if v.Network.Same(f.Network) {
				continue
			}
			severity, evidence := finding.Medium, fmt.Sprintf("it has %s, the current one %s", describe(v.Network), describe(f.Network))
			if !v.Network.Inside() {
				severity = finding.High
			}
			for _, a := range f.Aliases {
				if slices.Contains(a.Versions, v.Number) {
					evidence += "; alias " + a.Name + " points to it"
				}
			}
			s.add(severity, qualified(f.ARN, v.Number), evidence, "aws lambda delete-function --function-name "+f.Name+" --qualifier "+v.Number+", once no alias points to it", f.Name)
		}
	}
}

// describe writes a network in a few words.
func describe(n snapshot.Network) string {
	if !n.Inside() {
		return "no VPC"
	}
	text := n.Key()
	if n.IPv6 {
		text += " with IPv6"
	}
	return text
}
