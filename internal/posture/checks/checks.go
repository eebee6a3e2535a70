// Package checks says what of an account is not behind the gate. Each check is a pure
// function of a snapshot.
//
// What it does: it makes the checks P01 to P21, and turns everything that could not be
// read into a finding, for a silence would read as an all-clear.
//
// What it does not do: it asks AWS nothing, and evaluates no condition of a policy. One
// that it does not know is named in the evidence and taken as one that narrows nothing.
//
//	findings := checks.All(set, &checks.Options{})
package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/entries"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/snapshot"
)

// Options are what an account does not say by itself.
type Options struct {
	// Entries are the functions of the gate's policy. Nil: no policy was given, and P08
	// and P19 have nothing to compare with.
	Entries *entries.Table
	// Proxies are the hosts of the gate. Nil: a proxy variable may name any.
	Proxies []string
	// Layers are parts of the ARNs of layers that bring the gate's extension.
	Layers []string
	// MinFree is how many addresses a subnet should have free; 0 is DefaultMinFree.
	MinFree int
}

// DefaultMinFree is how many free addresses a subnet should have: Lambda takes one for
// each set of groups, and a few more while it replaces interfaces.
const DefaultMinFree = 16

// Check is a line of the list.
type Check struct {
	ID, Title   string
	Consequence string
	make        func(*scope)
	// needs are the calls without which the check is not made, lambda:ListFunctions aside:
	// what is missing would look like a fault, or like none.
	needs []string
}

// List returns the checks in their order.
func List() []Check {
	return []Check{
		{"P01", "function outside the VPC", "it reaches the whole internet, and the gate sees nothing of it", outside, nil},
		{"P02", "route to a NAT gateway", "code that leaves the proxy variables aside goes out through the gateway", natRoutes, []string{"ec2:DescribeSubnets", "ec2:DescribeRouteTables"}},
		{"P03", "subnet with an internet gateway", "by IPv6, or with an address of its own, a function goes straight out", internetRoutes, []string{"ec2:DescribeSubnets", "ec2:DescribeRouteTables"}},
		{"P04", "another way out", "what lies behind it may lead on to the internet, and the gate sees nothing of it", otherRoutes, []string{"ec2:DescribeSubnets", "ec2:DescribeRouteTables"}},
		{"P05", "egress of the security group too wide", "the group lets through more than the gate and the endpoints", wideEgress, []string{"ec2:DescribeSecurityGroups", "ec2:DescribeVpcs"}},
		{"P06", "no proxy settings", "clients do not find the gate, and their calls fail or go elsewhere", proxySettings, nil},
		{"P07", "a secret in plain settings", "whoever may read the function's configuration has it", plainSecrets, nil},
		{"P08", "interface shared with a function of another entry", "both have the same addresses, so that each may be taken for the other", sharedInterfaces, nil},
		{"P09", "function URL without authentication", "anybody on the internet may call it, whatever the network says", openURLs, nil},
		{"P10", "resource policy open or cross-account", "somebody outside of the account may call it", resourcePolicies, nil},
		{"P11", "triggers", "these call it whatever the network says", triggers, nil},
		{"P12", "one zone", "when the zone fails the function does", oneZone, []string{"ec2:DescribeSubnets"}},
		{"P13", "free addresses low", "a deployment or a new set of groups fails for want of an address", fewAddresses, []string{"ec2:DescribeSubnets"}},
		{"P14", "endpoint policy open", "a function may carry data to anybody's account through the endpoint", openEndpoints, []string{"ec2:DescribeVpcEndpoints"}},
		{"P15", "endpoint's group takes the whole VPC", "everything in the VPC reaches the endpoint, not the functions alone", wideEndpointGroups, []string{"ec2:DescribeVpcEndpoints", "ec2:DescribeSecurityGroups", "ec2:DescribeVpcs"}},
		{"P16", "no DNS Firewall, or it fails open", "the Amazon resolver carries data out in the names that it is asked for", dnsFirewall, firewallCalls},
		{"P17", "gateway endpoint missing", "calls of the service need a way out, or fail", gatewayEndpoints, []string{"ec2:DescribeVpcEndpoints"}},
		{"P18", "policy bucket not bound to its endpoint", "whoever has the right credentials rewrites the policy from anywhere", policyBuckets, nil},
		{"P19", "policy and account differ", "a function is refused everything, or an entry waits for whoever makes one of that name", differences, nil},
		{"P20", "a version or alias with another network", "whoever calls that version is not behind what the current one is", otherNetworks, nil},
		{"P21", "role may change its network", "code that turned hostile opens its own way out", networkRoles, []string{"iam:GetAccountAuthorizationDetails"}},
	}
}

// firewallCalls are what P16 needs.
var firewallCalls = []string{
	"ec2:DescribeVpcs", "route53resolver:ListFirewallConfigs", "route53resolver:ListFirewallRuleGroupAssociations", "route53resolver:ListFirewallRules",
}

// made reports whether a check can be made of a region, or of the account where that is
// nil. Where it cannot, the call that failed is a finding, which says so.
func (c *Check) made(snap *snapshot.Snapshot, region *snapshot.Region) bool {
	return !slices.ContainsFunc(snap.Unread, func(u snapshot.Unread) bool {
		here := region == nil || u.Region == region.Name
		return here && u.Resource == "" && !u.Gone && c.wants(u.Call)
	})
}

// wants reports whether a check needs a call.
func (c *Check) wants(call string) bool {
	return call == "lambda:ListFunctions" || slices.Contains(c.needs, call)
}

// unmade names the checks that are not made without a call. Calls about single resources
// leave their checks made of all the others.
func unmade(u *snapshot.Unread) string {
	var ids []string
	for _, c := range List() {
		if c.wants(u.Call) {
			ids = append(ids, c.ID)
		}
	}
	if u.Resource != "" || len(ids) == 0 {
		return "what was not read may hide a fault"
	}
	return "not made, which says nothing of what they would have found: " + strings.Join(ids, ", ")
}

// scope is what a check looks at: one region, or the account as a whole where region is
// nil.
type scope struct {
	check  *Check
	set    *snapshot.Set
	snap   *snapshot.Snapshot
	region *snapshot.Region
	opts   *Options
	out    []finding.Finding
}

// All makes every check, sorted. What is wrong with the snapshot itself is there too.
func All(set *snapshot.Set, opts *Options) (out []finding.Finding) {
	for i := range set.Snapshots {
		snap := &set.Snapshots[i]
		out = append(out, unread(snap)...)
		for _, c := range List() {
			for _, region := range regions(&c, snap) {
				if !c.made(snap, region) {
					continue
				}
				s := &scope{check: &c, set: set, snap: snap, region: region, opts: opts}
				c.make(s)
				out = append(out, s.out...)
			}
		}
	}
	finding.Sort(out)
	return slices.CompactFunc(out, func(a, b finding.Finding) bool { return a.Key() == b.Key() && a.Evidence == b.Evidence })
}

// regions returns what a check is made of: each region, or once for the account.
func regions(c *Check, snap *snapshot.Snapshot) (out []*snapshot.Region) {
	if slices.Contains([]string{"P18", "P19", "P21"}, c.ID) {
		return []*snapshot.Region{nil}
	}
	for i := range snap.Regions {
		out = append(out, &snap.Regions[i])
	}
	return out
}

// add adds a finding of the check.
func (s *scope) add(severity finding.Severity, resource, evidence, cure string, functions ...string) {
	f := finding.Finding{
		ID: s.check.ID, Title: s.check.Title, Severity: severity, Owner: s.snap.ID, Resource: resource,
		Evidence: evidence, Consequence: s.check.Consequence, Cure: cure, Functions: sorted(functions),
	}
	if s.region != nil {
		f.Region = s.region.Name
	}
	s.out = append(s.out, f)
}

// unseen adds that something which a check wants was not seen.
func (s *scope) unseen(resource, evidence string, functions ...string) {
	s.add(finding.High, resource, evidence, "let the reader see it: posture iam-policy, and --assume-role for what belongs to another account", functions...)
	f := &s.out[len(s.out)-1]
	f.ID, f.Title, f.Consequence = finding.Unread, "not seen", s.check.ID+" could not be made, which says nothing of it"
}

// sorted returns names in order, each once, nil for none.
func sorted(names []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

// inside returns the functions of the region that are in a VPC.
func (s *scope) inside() (out []*snapshot.Function) {
	for i := range s.region.Functions {
		if s.region.Functions[i].Network.Inside() {
			out = append(out, &s.region.Functions[i])
		}
	}
	return out
}

// bySubnet returns the functions in each subnet, and the subnets in order.
func (s *scope) bySubnet() (ids []string, functions map[string][]*snapshot.Function) {
	functions = map[string][]*snapshot.Function{}
	for _, f := range s.inside() {
		for _, id := range f.Network.Subnets {
			functions[id] = append(functions[id], f)
			ids = append(ids, id)
		}
	}
	return sorted(ids), functions
}

// byVPC returns the names of the functions in each VPC.
func (s *scope) byVPC() map[string][]string {
	functions := map[string][]string{}
	for _, f := range s.inside() {
		functions[f.Network.VPC] = append(functions[f.Network.VPC], f.Name)
	}
	return functions
}

// names returns the names of functions.
func names(functions []*snapshot.Function) (out []string) {
	for _, f := range functions {
		out = append(out, f.Name)
	}
	return out
}

// unread turns what could not be read into findings: one for each call and code of a
// region, with how often.
func unread(snap *snapshot.Snapshot) (out []finding.Finding) {
	at := map[string]int{}
	count := map[int][]string{}
	for _, u := range snap.Unread {
		f := finding.Finding{
			ID: finding.Unread, Title: "could not be read", Severity: finding.High, Owner: snap.ID, Region: u.Region, Resource: u.Call,
			Consequence: unmade(&u),
			Cure:        "allow " + u.Call + " to whoever runs this: posture iam-policy prints all that is called",
		}
		if u.Gone {
			f.Title, f.Severity, f.Consequence, f.Cure = "deleted while it was read", finding.Info, "none: it is no longer there", "run it again to see the account as it is now"
		}
		key := f.Region + f.Resource + f.Title + u.Code
		i, known := at[key]
		if !known {
			i = len(out)
			at[key] = i
			f.Evidence = strings.TrimSpace(u.Code + " " + u.Detail)
			out = append(out, f)
		}
		if u.Resource != "" {
			count[i] = append(count[i], u.Resource)
		}
	}
	for i, resources := range count {
		out[i].Functions = functionNames(resources)
		out[i].Evidence += fmt.Sprintf(" (%d: %s)", len(resources), shorten(resources))
	}
	for _, r := range snap.Regions {
		if r.Off {
			out = append(out, finding.Finding{
				ID: finding.Unread, Title: "region is off", Severity: finding.Info, Owner: snap.ID, Region: r.Name, Resource: r.Name,
				Evidence: "the account has not enabled it", Consequence: "none: nothing can be there", Cure: "leave it out of --regions",
			})
		}
	}
	return out
}

// functionNames returns the names of those resources that are functions.
func functionNames(resources []string) (out []string) {
	for _, arn := range resources {
		if _, name, ok := strings.Cut(arn, ":function:"); ok {
			name, _, _ = strings.Cut(name, ":")
			out = append(out, name)
		}
	}
	return sorted(out)
}

// shorten lists the first few of many.
func shorten(all []string) string {
	if all = sorted(all); len(all) > 5 {
		return strings.Join(all[:5], ", ") + ", …"
	}
	return strings.Join(all, ", ")
}
