// Package dnsfirewall writes rules of Route 53 Resolver DNS Firewall, as a CloudFormation
// template, for what functions of a policy may look up.
//
// What it does: the template has the domain lists, and the rule group: the deny list is
// blocked, what some function may look up is allowed for the record types of dns.types, and
// everything else is blocked. Aliases are judged as by a filter of ours: an allowed name may lead
// anywhere but to the deny list.
//
// What it does not do: a rule group holds for whole VPCs, and asks neither who looks a name up,
// nor what for, nor what it resolves to. It associates nothing with a VPC.
//
//	template, err := dnsfirewall.Write(extracted, cfg.DNS)
package dnsfirewall

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/settings"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// maxTemplate is the size of a template in S3, in bytes.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
const maxTemplate = 1 << 20

// queryTypes are the record types that a rule names. Others it has by number, as TYPE65.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/resolver-dns-firewall-rule-settings.html
var queryTypes = map[uint16]string{
	1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 35: "NAPTR", 43: "DS", 257: "CAA",
}

// resource is one of a template.
type resource struct {
	Type       string
	Properties any
}

// ref names another resource.
type ref struct{ Ref string }

// rule is one of a rule group. Those with a lower priority come first.
type rule struct {
	Priority                        int
	Action                          string
	BlockResponse                   string `json:",omitempty"`
	FirewallDomainListID            ref    `json:"FirewallDomainListId"`
	FirewallDomainRedirectionAction string `json:",omitempty"`
	Qtype                           string `json:",omitempty"`
}

// Write writes the template for what the functions, of one policy, may look up together. dns
// is that of the policy. What no rule group says is a *yamlread.Error.
func Write(functions []*convert.Extracted, dns settings.DNS) ([]byte, error) {
	w := writer{resources: map[string]resource{}}
	var allowed, denied []hostname.Pattern
	for _, e := range functions {
		denied = e.Deny
		for i := range e.Rules {
			if r := &e.Rules[i]; !r.Pattern.IsZero() { // literal addresses are not looked up
				check(e, r.At, r.Key, r.Pattern)
				allowed = append(allowed, r.Pattern)
			}
		}
	}
	first := functions[0]
	for _, p := range denied {
		check(first, yamlread.Position{File: first.Policy, Line: 1}, "deny", p)
	}
	if dns.RefuseWith == settings.Refused {
		first.Refuse(yamlread.Position{File: first.Policy, Line: 1}, "dns.refuse_with", "DNS Firewall cannot answer REFUSED; write nxdomain or nodata")
	}
	w.block = map[settings.Refusal]string{settings.NXDomain: "NXDOMAIN", settings.NoData: "NODATA"}[dns.RefuseWith]
	w.rules(denied, allowed, dns.Types)
	out, err := w.template(functions)
	if len(out) > maxTemplate {
		first.Refuse(first.At, first.Key, "the template has %d bytes, and one may have %d; convert fewer functions at once", len(out), maxTemplate)
	}
	if refused := convert.Errors(functions...); refused != nil {
		return nil, refused
	}
	return out, err
}

// writer gathers a template.
type writer struct {
	block     string // how what is not allowed is answered
	resources map[string]resource
	group     []rule
}

// check notes a name that a domain list cannot have.
func check(e *convert.Extracted, at yamlread.Position, key string, p hostname.Pattern) {
	if strings.Contains(p.Name().String(), "_") {
		e.Refuse(at, key, "%s has an underscore, which no domain list of DNS Firewall may have", p)
	}
}

// rules writes the lists and the rules about them.
func (w *writer) rules(denied, allowed []hostname.Pattern, types []uint16) {
	if len(denied) > 0 {
		w.list("Denied", domains(denied))
		w.group = append(w.group, rule{Action: "BLOCK", BlockResponse: w.block, FirewallDomainListID: ref{"Denied"}, FirewallDomainRedirectionAction: "INSPECT_REDIRECTION_DOMAIN"})
	}
	if len(allowed) > 0 {
		w.list("Allowed", domains(allowed))
		for _, number := range types {
			name, known := queryTypes[number]
			if !known {
				name = fmt.Sprintf("TYPE%d", number)
			}
			w.group = append(w.group, rule{Action: "ALLOW", FirewallDomainListID: ref{"Allowed"}, FirewallDomainRedirectionAction: "TRUST_REDIRECTION_DOMAIN", Qtype: name})
		}
	}
	w.list("Everything", []string{"*"})
	w.group = append(w.group, rule{Action: "BLOCK", BlockResponse: w.block, FirewallDomainListID: ref{"Everything"}})
	for i := range w.group {
		w.group[i].Priority = 100 * (i + 1)
	}
}

// list adds a domain list.
func (w *writer) list(name string, domains []string) {
	w.resources[name] = resource{"AWS::Route53Resolver::FirewallDomainList", struct{ Domains []string }{domains}}
}

// domains are the entries for some patterns: a name, and *. and a name for all below it.
func domains(all []hostname.Pattern) (entries []string) {
	for _, p := range all {
		for _, part := range p.Parts() {
			entries = append(entries, part.String())
		}
	}
	slices.Sort(entries)
	return slices.Compact(entries)
}

// template writes what was gathered.
func (w *writer) template(functions []*convert.Extracted) ([]byte, error) {
	w.resources["Rules"] = resource{"AWS::Route53Resolver::FirewallRuleGroup", struct{ FirewallRules []rule }{w.group}}
	names := make([]string, len(functions))
	for i, e := range functions {
		names[i] = e.Name
	}
	description := "What may be looked up by " + strings.Join(names, ", ")
	if len(description) > 1000 { // a template may have 1,024 bytes of it
		description = fmt.Sprintf("What may be looked up by %d functions", len(names))
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	err := enc.Encode(struct {
		AWSTemplateFormatVersion, Description string
		Resources                             map[string]resource
		Outputs                               map[string]struct{ Value ref }
	}{"2010-09-09", description, w.resources, map[string]struct{ Value ref }{"RuleGroupId": {ref{"Rules"}}}})
	if err != nil {
		return nil, fmt.Errorf("writing the template: %w", err)
	}
	return out.Bytes(), nil
}
