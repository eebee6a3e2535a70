package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/entries"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/snapshot"
)

const (
	us      = "111122223333"
	them    = "999988887777"
	roleARN = "arn:aws:iam::111122223333:role/f"
	arn     = "arn:aws:lambda:eu-west-1:111122223333:function:f"
	bound   = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalAccount":"111122223333","aws:ResourceAccount":"111122223333"}}}]}`
)

// sound returns an account with one function that is behind the gate, and in which no
// check finds anything.
func sound() *snapshot.Set {
	return &snapshot.Set{Format: snapshot.Format, Made: "2026-01-31T00:00:00Z", Snapshots: []snapshot.Snapshot{{
		ID: us,
		Regions: []snapshot.Region{{
			Name: "eu-west-1",
			Functions: []snapshot.Function{{
				ARN: arn, Name: "f", Role: roleARN,
				Network: snapshot.Network{VPC: "vpc-1", Subnets: []string{"subnet-a", "subnet-b"}, Groups: []string{"sg-f"}},
				Vars:    []snapshot.Var{{Name: "HTTPS_PROXY", Proxy: "https://gate.internal:3129"}, {Name: "TABLE"}},
			}},
			VPCs: []snapshot.VPC{{
				ID: "vpc-1", Owner: us, Blocks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")},
				Firewall: snapshot.Firewall{Groups: 1, Blocks: 1},
			}},
			Subnets: []snapshot.Subnet{
				{ID: "subnet-a", VPC: "vpc-1", Owner: us, Zone: "euw1-az1", Free: 200},
				{ID: "subnet-b", VPC: "vpc-1", Owner: us, Zone: "euw1-az2", Free: 200},
			},
			Tables: []snapshot.Table{{
				ID: "rtb-1", VPC: "vpc-1", Subnets: []string{"subnet-a", "subnet-b"},
				Routes: []snapshot.Route{{To: "10.0.0.0/16", Target: "local"}, {To: "pl-s3", Target: "vpce-s3"}},
			}},
			Groups: []snapshot.Group{
				{ID: "sg-f", VPC: "vpc-1", Egress: []snapshot.Rule{{Protocol: "tcp", From: 3129, To: 3129, Groups: []string{"sg-gate"}}}},
				{ID: "sg-gate", VPC: "vpc-1"},
				{ID: "sg-ep", VPC: "vpc-1", Ingress: []snapshot.Rule{{Protocol: "tcp", From: 443, To: 443, Groups: []string{"sg-f"}}}},
			},
			Lists: []snapshot.List{
				{ID: "pl-s3", Name: "com.amazonaws.eu-west-1.s3", Owner: "AWS"},
				{ID: "pl-cdn", Name: "com.amazonaws.global.cloudfront.origin-facing", Owner: "AWS"},
				{ID: "pl-own", Name: "own", Owner: us, Entries: []string{"10.0.8.0/24"}},
				{ID: "pl-wide", Name: "wide", Owner: us, Entries: []string{"10.0.8.0/24", "198.51.100.0/24"}},
			},
			Endpoints: []snapshot.Endpoint{
				{ID: "vpce-s3", VPC: "vpc-1", Service: "com.amazonaws.eu-west-1.s3", Kind: "Gateway", Policy: bound, Tables: []string{"rtb-1"}},
				{ID: "vpce-ddb", VPC: "vpc-1", Service: "com.amazonaws.eu-west-1.dynamodb", Kind: "Gateway", Policy: bound},
				{ID: "vpce-sts", VPC: "vpc-1", Service: "com.amazonaws.eu-west-1.sts", Kind: "Interface", Policy: bound, Groups: []string{"sg-ep"}},
			},
			Interfaces: []snapshot.Interface{{ID: "eni-1", Subnet: "subnet-a", Groups: []string{"sg-f"}, IPs: []string{"10.0.0.9"}}},
		}},
		Roles: []snapshot.Role{{ARN: roleARN, Policies: []snapshot.Policy{{Name: "vpc", Document: allow(`"ec2:CreateNetworkInterface","ec2:DeleteNetworkInterface"`, `"Resource":"*"`)}}}},
	}}}
}

// allow writes a policy of one statement that allows actions.
func allow(actions, rest string) string {
	return `{"Version":"2012-10-17","Statement":[{"Sid":"s","Effect":"Allow","Action":[` + actions + `],` + rest + `}]}`
}

// invoke writes a resource policy of one statement.
func invoke(principal, condition string) snapshot.Policy {
	if condition != "" {
		condition = `,"Condition":` + condition
	}
	return snapshot.Policy{Document: allow(`"lambda:InvokeFunction"`, `"Principal":`+principal+`,"Resource":"`+arn+`"`+condition)}
}

// listed are the entries of a policy.
func listed(list ...identity.Entry) *entries.Table { return entries.New(list) }

// bySource is an entry that is known by its address alone.
func bySource(name string) identity.Entry {
	return identity.Entry{Function: name, Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}
}

// byToken is an entry with a token.
func byToken(name string) identity.Entry {
	return identity.Entry{Function: name, Tokens: []identity.Token{{}}}
}

// account is what rows of the table change.
type account struct {
	*snapshot.Snapshot
	*snapshot.Region
	f    *snapshot.Function
	opts *Options
}

// open returns the parts of a set.
func open(set *snapshot.Set) *account {
	a := &account{Snapshot: &set.Snapshots[0], opts: &Options{}}
	a.Region = &a.Regions[0]
	a.f = &a.Functions[0]
	return a
}

// route adds a route to the table of the functions.
func (a *account) route(to, target string) {
	a.Tables[0].Routes = append(a.Tables[0].Routes, snapshot.Route{To: to, Target: target})
}

// egress adds a rule to the functions' group.
func (a *account) egress(r snapshot.Rule) { a.Groups[0].Egress = append(a.Groups[0].Egress, r) }

// row is a change of the sound account and what it has to give: "ID severity", none being
// a near miss.
type row struct {
	name   string
	change func(*account)
	want   []string
}

func rowsOfNetwork() []row {
	return []row{
		{"nothing", func(*account) {}, nil},
		{"P01 no VPC", func(a *account) { a.f.Network = snapshot.Network{} }, []string{"P01 high"}},
		{"P02 NAT", func(a *account) { a.route("0.0.0.0/0", "nat-1") }, []string{"P02 high", "P02 high"}},
		{"P02 NAT in the main table", func(a *account) {
			a.Tables[0].Subnets = nil
			a.Tables[0].Main = true
			a.route("0.0.0.0/0", "nat-1")
		}, []string{"P02 high", "P02 high"}},
		{"P02 main table beside one's own", func(a *account) {
			a.Tables = append(a.Tables, snapshot.Table{ID: "rtb-m", VPC: "vpc-1", Main: true, Routes: []snapshot.Route{{To: "0.0.0.0/0", Target: "nat-1"}}})
		}, nil},
		{"P02 NAT that is gone", func(a *account) {
			a.Tables[0].Routes = append(a.Tables[0].Routes, snapshot.Route{To: "0.0.0.0/0", Target: "nat-1", Blackhole: true})
		}, nil},
		{"P02 private NAT", func(a *account) { a.route("10.9.0.0/16", "nat-1") }, []string{"P02 medium", "P02 medium"}},
		{"P02 NAT64", func(a *account) { a.route("64:ff9b::/96", "nat-1") }, []string{"P02 high", "P02 high"}},
		{"P02 NAT in another VPC", func(a *account) {
			a.Tables = append(a.Tables, snapshot.Table{ID: "rtb-2", VPC: "vpc-2", Main: true, Routes: []snapshot.Route{{To: "0.0.0.0/0", Target: "nat-1"}}})
		}, nil},
		{"no table", func(a *account) { a.Tables = nil }, []string{"unread high", "unread high"}},
		{"shared subnets", func(a *account) { a.Tables, a.Subnets[0].Owner, a.Subnets[1].Owner = nil, them, them }, []string{"unread high", "unread high"}},
		{"subnet not seen", func(a *account) { a.Subnets = a.Subnets[:1] }, []string{"unread high"}},
		{"P03 internet gateway", func(a *account) { a.route("0.0.0.0/0", "igw-1") }, []string{"P03 medium", "P03 medium"}},
		{"P03 by IPv6", func(a *account) {
			a.route("::/0", "igw-1")
			a.f.Network.IPv6, a.Subnets[0].IPv6 = true, true
		}, []string{"P03 high", "P03 medium"}},
		{"P03 IPv6-only subnet", func(a *account) { a.route("::/0", "igw-1"); a.Subnets[0].Native = true }, []string{"P03 high", "P03 medium"}},
		{"P04 peering", func(a *account) { a.route("10.9.0.0/16", "pcx-1") }, []string{"P04 medium", "P04 medium"}},
		{"P04 transit gateway by default", func(a *account) { a.route("0.0.0.0/0", "tgw-1") }, []string{"P04 high", "P04 high"}},
		{"P04 VPN", func(a *account) { a.route("192.168.0.0/16", "vgw-1") }, []string{"P04 medium", "P04 medium"}},
		{"P04 egress-only", func(a *account) { a.route("::/0", "eigw-1"); a.Subnets[0].IPv6, a.f.Network.IPv6 = true, true }, []string{"P04 high", "P04 medium"}},
		{"P04 unknown target", func(a *account) { a.route("0.0.0.0/0", "new-1") }, []string{"P04 high", "P04 high"}},
		{"P04 firewall endpoint", func(a *account) { a.route("0.0.0.0/0", "vpce-fw") }, []string{"P04 high", "P04 high"}},
		{"P04 list to a peer", func(a *account) { a.route("pl-wide", "pcx-1") }, []string{"P04 high", "P04 high"}},
		{"P04 private list to a peer", func(a *account) { a.route("pl-own", "pcx-1") }, []string{"P04 medium", "P04 medium"}},
		{"P04 list nobody saw", func(a *account) { a.route("pl-x", "pcx-1") }, []string{"P04 high", "P04 high"}},
		{"gateway endpoint is no way out", func(a *account) { a.route("pl-ddb", "vpce-ddb") }, nil},
		{"P05 everything", func(a *account) { a.egress(snapshot.Rule{Protocol: "-1", Blocks: []string{"0.0.0.0/0"}}) }, []string{"P05 high"}},
		{"P05 IPv6", func(a *account) { a.egress(snapshot.Rule{Protocol: "udp", From: 53, To: 53, Blocks: []string{"::/0"}}) }, []string{"P05 high"}},
		{"P05 one address of the internet", func(a *account) { a.egress(snapshot.Rule{Protocol: "tcp", Blocks: []string{"198.51.100.7/32"}}) }, []string{"P05 high"}},
		{"P05 the whole VPC", func(a *account) { a.egress(snapshot.Rule{Protocol: "tcp", Blocks: []string{"10.0.0.0/16"}}) }, []string{"P05 medium"}},
		{"P05 all private addresses", func(a *account) { a.egress(snapshot.Rule{Protocol: "tcp", Blocks: []string{"10.0.0.0/8"}}) }, []string{"P05 medium"}},
		{"P05 a part of the VPC", func(a *account) { a.egress(snapshot.Rule{Protocol: "tcp", Blocks: []string{"10.0.8.0/24"}}) }, nil},
		{"P05 list of the endpoint", func(a *account) { a.egress(snapshot.Rule{Protocol: "tcp", Lists: []string{"pl-s3"}}) }, nil},
		{"P05 list of a CDN", func(a *account) { a.egress(snapshot.Rule{Protocol: "tcp", Lists: []string{"pl-cdn"}}) }, []string{"P05 medium"}},
		{"P05 own list", func(a *account) { a.egress(snapshot.Rule{Protocol: "tcp", Lists: []string{"pl-own"}}) }, nil},
		{"P05 own list, wide", func(a *account) { a.egress(snapshot.Rule{Protocol: "tcp", Lists: []string{"pl-wide"}}) }, []string{"P05 high"}},
		{"P05 list nobody saw", func(a *account) { a.egress(snapshot.Rule{Protocol: "tcp", Lists: []string{"pl-x"}}) }, []string{"unread high"}},
		{"P05 group that names itself", func(a *account) { a.egress(snapshot.Rule{Protocol: "tcp", Groups: []string{"sg-f"}}) }, nil},
		{"P05 group of a peer", func(a *account) { a.egress(snapshot.Rule{Protocol: "tcp", Groups: []string{"sg-peer"}}) }, []string{"P05 low"}},
		{"group not seen", func(a *account) { a.f.Network.Groups = []string{"sg-x"} }, []string{"unread high"}},
		{"VPC not seen", func(a *account) { a.VPCs = nil }, []string{"unread high", "unread high"}},
		{"P12 one zone", func(a *account) { a.Subnets[1].Zone = "euw1-az1" }, []string{"P12 medium"}},
		{"P13 few addresses", func(a *account) { a.Subnets[0].Free = 15 }, []string{"P13 medium"}},
		{"P13 just enough", func(a *account) { a.Subnets[0].Free = 16 }, nil},
		{"P13 IPv6-only subnet", func(a *account) { a.Subnets[0].Free, a.Subnets[0].Native = 0, true }, nil},
		{"P15 the whole VPC", func(a *account) { a.Groups[2].Ingress[0].Blocks = []string{"10.0.0.0/16"} }, []string{"P15 low"}},
		{"P15 more than the VPC", func(a *account) { a.Groups[2].Ingress[0].Blocks = []string{"0.0.0.0/0"} }, []string{"P15 medium"}},
		{"P15 one subnet", func(a *account) { a.Groups[2].Ingress[0].Blocks = []string{"10.0.0.0/24"} }, nil},
		{"P16 none", func(a *account) { a.VPCs[0].Firewall = snapshot.Firewall{} }, []string{"P16 high"}},
		{"P16 nothing blocks", func(a *account) { a.VPCs[0].Firewall.Blocks = 0 }, []string{"P16 high"}},
		{"P16 fails open", func(a *account) { a.VPCs[0].Firewall.FailOpen = true }, []string{"P16 medium"}},
		{"P16 VPC without functions", func(a *account) { a.VPCs = append(a.VPCs, snapshot.VPC{ID: "vpc-2", Owner: us}) }, nil},
		{"P17 no S3", func(a *account) { a.Endpoints = a.Endpoints[1:] }, []string{"P17 low"}},
	}
}

func rowsOfFunctions() []row {
	return []row{
		{"P06 no variable", func(a *account) { a.f.Vars = nil }, []string{"P06 medium"}},
		{"P06 lower case", func(a *account) { a.f.Vars[0].Name = "https_proxy" }, nil},
		{"P06 the extension", func(a *account) { a.f.Vars[0].Name = "EGRESS_PROXY" }, nil},
		{"P06 the extension of another gate", func(a *account) {
			a.f.Vars[0].Name, a.opts.Proxies = "EGRESS_PROXY", []string{"other.internal"}
		}, []string{"P06 medium"}},
		{"P06 a layer", func(a *account) {
			a.f.Vars, a.f.Layers, a.opts.Layers = nil, []string{"arn:aws:lambda:eu-west-1:1:layer:egress:3"}, []string{":layer:egress:"}
		}, nil},
		{"P06 another layer", func(a *account) {
			a.f.Vars, a.f.Layers, a.opts.Layers = nil, []string{"arn:aws:lambda:eu-west-1:1:layer:numpy:3"}, []string{":layer:egress:"}
		}, []string{"P06 medium"}},
		{"P06 another proxy", func(a *account) { a.opts.Proxies = []string{"other.internal"} }, []string{"P06 medium"}},
		{"P06 this proxy", func(a *account) { a.opts.Proxies = []string{"gate.internal"} }, nil},
		{"P06 no URL", func(a *account) { a.f.Vars[0].Proxy = "" }, []string{"P06 medium"}},
		{"P07 a password", func(a *account) { a.f.Vars[1].Secret = "named" }, []string{"P07 high"}},
		{"P07 the gate's token", func(a *account) { a.f.Vars[0].Secret = "url" }, []string{"P07 low"}},
		{"P08 same interface, other entry", func(a *account) {
			a.Functions = append(a.Functions, a.Functions[0])
			a.Functions[1].Name, a.Functions[1].Network.Subnets = "g", []string{"subnet-b", "subnet-a"}
			a.opts.Entries = listed(bySource("f"), byToken("g"))
		}, []string{"P08 high"}},
		{"P08 same interface, tokens", func(a *account) {
			a.Functions = append(a.Functions, a.Functions[0])
			a.Functions[1].Name = "g"
			a.opts.Entries = listed(byToken("f"), byToken("g"))
		}, nil},
		{"P08 other groups", func(a *account) {
			a.Functions = append(a.Functions, a.Functions[0])
			a.Functions[1].Name, a.Functions[1].Network.Groups = "g", []string{"sg-gate"}
			a.opts.Entries = listed(bySource("f"), bySource("g"))
		}, nil},
		{"P09 open URL", func(a *account) { a.f.URLs = []snapshot.URL{{Auth: "NONE"}} }, []string{"P09 high", "P11 info"}},
		{"P09 URL with IAM", func(a *account) { a.f.URLs = []snapshot.URL{{Auth: "AWS_IAM"}} }, []string{"P11 info"}},
		{"P11 queue", func(a *account) { a.f.Mappings = []string{"arn:aws:sqs:eu-west-1:111122223333:q"} }, []string{"P11 info"}},
		{"P19 not listed", func(a *account) { a.opts.Entries = listed() }, []string{"P19 medium"}},
		{"P19 not there", func(a *account) { a.opts.Entries = listed(byToken("f"), byToken("g")) }, []string{"P19 low"}},
		{"P08 same interface, attested, and sources", func(a *account) {
			a.Functions = append(a.Functions, *a.f)
			a.Functions[1].Name, a.Functions[1].ARN = "g", arn[:len(arn)-1]+"g"
			f, g := bySource("f"), bySource("g")
			f.AWS, g.AWS = []string{arn}, []string{a.Functions[1].ARN}
			a.opts.Entries = listed(f, g)
		}, nil},
		{"P08 an entry of another name, by its address", func(a *account) {
			a.Functions = append(a.Functions, *a.f)
			a.Functions[1].Name, a.Functions[1].ARN = "g", arn[:len(arn)-1]+"g"
			a.opts.Entries = listed(identity.Entry{Function: "shop", AWS: []string{arn}}, bySource("g"))
		}, []string{"P08 high"}},
		{"P19 by its ARN, whatever its name", func(a *account) {
			a.opts.Entries = listed(identity.Entry{Function: "shop", AWS: []string{arn}})
		}, nil},
		{"P19 by the beginning of its ARN", func(a *account) {
			a.opts.Entries = listed(identity.Entry{Function: "shop", AWS: []string{arn[:len(arn)-1] + "*"}})
		}, nil},
		{"P19 of its name, by another ARN", func(a *account) {
			a.opts.Entries = listed(identity.Entry{Function: "f", AWS: []string{arn + "2"}})
		}, []string{"P19 low", "P19 medium"}},
		{"P19 of an account that was not read", func(a *account) {
			a.opts.Entries = listed(bySource("f"), identity.Entry{Function: "g", AWS: []string{"arn:aws:lambda:eu-west-1:" + them + ":function:g"}})
		}, []string{"P19 low"}},
		{"P19 a role is a task's", func(a *account) {
			a.opts.Entries = listed(bySource("f"), identity.Entry{Function: "task", AWS: []string{"arn:aws:iam::" + us + ":role/task"}})
		}, nil},
		{"P19 the same", func(a *account) { a.opts.Entries = listed(bySource("f")) }, nil},
		{"P20 version without a VPC", func(a *account) {
			a.f.Versions = []snapshot.Version{{Number: "3"}}
			a.f.Aliases = []snapshot.Alias{{Name: "live", Versions: []string{"3"}}}
		}, []string{"P20 high"}},
		{"P20 another group", func(a *account) {
			n := a.f.Network
			n.Groups = []string{"sg-gate"}
			a.f.Versions = []snapshot.Version{{Number: "3", Network: n}}
		}, []string{"P20 medium"}},
		{"P20 another order", func(a *account) {
			n := a.f.Network
			n.Subnets = []string{"subnet-b", "subnet-a"}
			a.f.Versions = []snapshot.Version{{Number: "3", Network: n}}
		}, nil},
		{"region off", func(a *account) { a.Regions = append(a.Regions, snapshot.Region{Name: "af-south-1", Off: true}) }, []string{"unread info"}},
		{"gone", func(a *account) {
			a.Unread = []snapshot.Unread{{Call: "lambda:ListAliases", Code: "ResourceNotFoundException", Gone: true}}
		}, []string{"unread info"}},
		{"denied thrice", func(a *account) {
			for _, r := range []string{"1", "2", "3"} {
				a.Unread = append(a.Unread, snapshot.Unread{Call: "lambda:GetPolicy", Code: "AccessDenied", Resource: arn + r})
			}
		}, []string{"unread high"}},
	}
}

func rowsOfPolicies() []row {
	policy := func(principal, condition string) func(*account) {
		return func(a *account) { a.f.Policies = []snapshot.Policy{invoke(principal, condition)} }
	}
	role := func(document string) func(*account) {
		return func(a *account) { a.Roles[0].Policies[0].Document = document }
	}
	endpoint := func(i int, document string) func(*account) {
		return func(a *account) { a.Endpoints[i].Policy = document }
	}
	bucket := func(document string) func(*account) {
		return func(a *account) { a.Buckets = []snapshot.Bucket{{Name: "policies", Policy: document}} }
	}
	return []row{
		{"P10 everybody", policy(`"*"`, ""), []string{"P10 high"}},
		{"P10 everybody as AWS", policy(`{"AWS":"*"}`, ""), []string{"P10 high"}},
		{"P10 the organization", policy(`"*"`, `{"StringEquals":{"aws:PrincipalOrgID":"o-abc"}}`), nil},
		{"P10 any organization", policy(`"*"`, `{"StringLike":{"aws:PrincipalOrgID":"*"}}`), []string{"P10 high"}},
		{"P10 if it exists", policy(`"*"`, `{"StringEqualsIfExists":{"aws:SourceAccount":"111122223333"}}`), []string{"P10 high"}},
		{"P10 not equal", policy(`"*"`, `{"StringNotEquals":{"aws:PrincipalAccount":"111122223333"}}`), []string{"P10 high"}},
		{"P10 unknown condition", policy(`"*"`, `{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`), []string{"P10 high"}},
		{"P10 the account", policy(`{"AWS":"arn:aws:iam::111122223333:root"}`, ""), nil},
		{"P10 another account", policy(`{"AWS":"arn:aws:iam::999988887777:root"}`, ""), []string{"P10 medium"}},
		{"P10 another account by number", policy(`{"AWS":"999988887777"}`, ""), []string{"P10 medium"}},
		{"P10 service of nobody", policy(`{"Service":"s3.amazonaws.com"}`, ""), []string{"P10 medium", "P11 info"}},
		{"P10 service of the account", policy(`{"Service":"s3.amazonaws.com"}`, `{"StringEquals":{"aws:SourceAccount":"111122223333"}}`), []string{"P11 info"}},
		{"P10 service of another account", policy(`{"Service":"events.amazonaws.com"}`, `{"ArnLike":{"aws:SourceArn":"arn:aws:events:eu-west-1:999988887777:rule/r"}}`), []string{"P10 medium", "P11 info"}},
		{"P10 URL's statement is P09's", func(a *account) {
			a.f.URLs = []snapshot.URL{{Auth: "NONE"}}
			a.f.Policies = []snapshot.Policy{invoke(`"*"`, `{"StringEquals":{"lambda:FunctionUrlAuthType":"NONE"}}`)}
		}, []string{"P09 high", "P11 info"}},
		{"P10 URL's statement without a URL", policy(`"*"`, `{"StringEquals":{"lambda:FunctionUrlAuthType":"NONE"}}`), []string{"P10 high"}},
		{"P10 not JSON", func(a *account) { a.f.Policies = []snapshot.Policy{{Document: "{"}} }, []string{"unread high"}},
		{"P10 unknown member", func(a *account) {
			a.f.Policies = []snapshot.Policy{{Document: `{"Statement":[{"Effect":"Allow","Unless":"x"}]}`}}
		}, []string{"unread high"}},
		{"P14 none", endpoint(0, ""), []string{"P14 high"}},
		{"P14 everything", endpoint(0, allow(`"*"`, `"Principal":"*","Resource":"*"`)), []string{"P14 high"}},
		{"P14 every bucket", endpoint(0, allow(`"s3:*"`, `"Principal":"*","Resource":"arn:aws:s3:::*"`)), []string{"P14 high"}},
		{"P14 own callers, any bucket", endpoint(0, allow(`"s3:*"`, `"Principal":"*","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalAccount":"111122223333"}}`)), []string{"P14 medium"}},
		{"P14 one bucket", endpoint(0, allow(`"s3:*"`, `"Principal":"*","Resource":"arn:aws:s3:::mine/*"`)), nil},
		{"P14 own resources", endpoint(0, allow(`"s3:*"`, `"Principal":"*","Resource":"*","Condition":{"StringEquals":{"s3:ResourceAccount":"111122223333"}}`)), nil},
		{"P14 tokens of STS, own callers", endpoint(2, allow(`"sts:GetWebIdentityToken"`, `"Principal":"*","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalAccount":"111122223333"}}`)), nil},
		{"P14 tokens of STS and roles, own callers", endpoint(2, allow(`"sts:GetWebIdentityToken","sts:AssumeRole"`, `"Principal":"*","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalAccount":"111122223333"}}`)), []string{"P14 medium"}},
		{"P14 tokens of STS for anybody", endpoint(2, allow(`"sts:GetWebIdentityToken"`, `"Principal":"*","Resource":"*"`)), []string{"P14 high"}},
		{"P14 not JSON", endpoint(0, "<"), []string{"unread high"}},
		{"P18 none", bucket(""), []string{"P18 medium"}},
		{"P18 bound", bucket(`{"Statement":{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*","Condition":{"StringNotEquals":{"aws:SourceVpce":"vpce-1"}}}}`), nil},
		{"P18 bound but for a writer", bucket(`{"Statement":{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*","Condition":{"StringNotEquals":{"aws:SourceVpce":"vpce-1"},"ArnNotLike":{"aws:PrincipalArn":"arn:aws:iam::111122223333:role/pipeline"}}}}`), nil},
		{"P18 bound but for everybody", bucket(`{"Statement":{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*","Condition":{"StringNotEquals":{"aws:SourceVpce":"vpce-1"},"ArnNotLike":{"aws:PrincipalArn":"*"}}}}`), []string{"P18 medium"}},
		{"P18 bound but for every role", bucket(`{"Statement":{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*","Condition":{"StringNotEquals":{"aws:SourceVpce":"vpce-1"},"ArnNotLike":{"aws:PrincipalArn":["arn:aws:iam::111122223333:role/pipeline","arn:aws:iam::111122223333:role/*"]}}}}`), []string{"P18 medium"}},
		{"P18 bound but for what nobody knows", bucket(`{"Statement":{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*","Condition":{"StringNotEquals":{"aws:SourceVpce":"vpce-1"},"Bool":{"aws:SecureTransport":"false"}}}}`), []string{"P18 medium"}},
		{"P18 bound for reading alone", bucket(`{"Statement":{"Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"*","Condition":{"StringNotEquals":{"aws:SourceVpce":"vpce-1"}}}}`), []string{"P18 medium"}},
		{"P18 allowed by the endpoint", bucket(`{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"aws:SourceVpce":"vpce-1"}}}}`), []string{"P18 medium"}},
		{"P21 changes functions", role(allow(`"lambda:UpdateFunctionConfiguration"`, `"Resource":"*"`)), []string{"P21 high"}},
		{"P21 wildcard", role(allow(`"ec2:Authorize*"`, `"Resource":"*"`)), []string{"P21 high"}},
		{"P21 NotAction", role(`{"Statement":[{"Effect":"Allow","NotAction":"s3:*","Resource":"*"}]}`), []string{"P21 high"}},
		{"P21 denied again", role(`{"Statement":[{"Effect":"Allow","Action":"lambda:*","Resource":"*"},{"Effect":"Deny","Action":["lambda:Update*","lambda:Create*"],"Resource":"*"}]}`), nil},
		{"P21 denied at times", role(`{"Statement":[{"Effect":"Allow","Action":"lambda:UpdateFunctionConfiguration","Resource":"*"},{"Effect":"Deny","Action":"lambda:*","Resource":"*","Condition":{"Bool":{"aws:MultiFactorAuthPresent":"false"}}}]}`), []string{"P21 high"}},
		{"P21 outside of the boundary", func(a *account) {
			a.Roles[0].Policies[0].Document = allow(`"*"`, `"Resource":"*"`)
			a.Roles[0].Boundary = &snapshot.Policy{Document: allow(`"s3:*"`, `"Resource":"*"`)}
		}, nil},
		{"P21 reads alone", role(allow(`"ec2:Describe*","lambda:Get*","lambda:InvokeFunction"`, `"Resource":"*"`)), nil},
		{"P21 policy not JSON", role("x"), []string{"unread high"}},
		{"role not seen", func(a *account) { a.Roles = nil }, []string{"unread high"}},
	}
}

func TestEachFaultIsFoundAndNoNearMiss(t *testing.T) {
	t.Parallel()
	planted := map[string]bool{}
	for _, row := range slices.Concat(rowsOfNetwork(), rowsOfFunctions(), rowsOfPolicies()) {
		set := sound()
		a := open(set)
		row.change(a)
		var got []string
		for _, f := range All(set, a.opts) {
			got = append(got, f.ID+" "+f.Severity.String())
			planted[f.ID] = true
			for what, text := range map[string]string{"title": f.Title, "account": f.Owner, "resource": f.Resource, "evidence": f.Evidence, "consequence": f.Consequence, "cure": f.Cure} {
				if text == "" {
					t.Errorf("%s: %s of %s is empty", row.name, what, f.ID)
				}
			}
		}
		if slices.Sort(got); !slices.Equal(got, inOrder(row.want)) {
			t.Errorf("%s: got %q, want %q\n%+v", row.name, got, row.want, All(set, a.opts))
		}
	}
	for i, c := range List() {
		if want := fmt.Sprintf("P%02d", i+1); c.ID != want || !planted[want] {
			t.Errorf("%s: no row plants it, or it is not check %d", c.ID, i+1)
		}
	}
}

// inOrder returns a sorted copy.
func inOrder(all []string) []string { return slices.Sorted(slices.Values(all)) }

// A condition that is not evaluated is named.
func TestUnknownConditionsAreNamed(t *testing.T) {
	t.Parallel()
	set := sound()
	open(set).f.Policies = []snapshot.Policy{invoke(`"*"`, `{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`)}
	found := All(set, &Options{})
	if len(found) != 1 || !strings.Contains(found[0].Evidence, "IpAddress aws:sourceip") {
		t.Errorf("got %+v", found)
	}
	open(set).f.Policies = nil
	open(set).Roles[0].Policies[0].Document = allow(`"ec2:CreateRoute"`, `"Resource":"*","Condition":{"StringEquals":{"aws:RequestTag/a":"b"}}`)
	found = All(set, &Options{})
	if len(found) != 1 || !strings.Contains(found[0].Evidence, "StringEquals aws:requesttag/a") {
		t.Errorf("got %+v", found)
	}
}

// Who takes the subnets' owner away from the reader is told whom to ask.
func TestASharedSubnetNamesItsOwner(t *testing.T) {
	t.Parallel()
	set := sound()
	a := open(set)
	a.Tables, a.Subnets[0].Owner, a.Subnets[1].Owner = nil, them, them
	for _, f := range All(set, a.opts) {
		if !strings.Contains(f.Evidence, them) || f.Severity != finding.High {
			t.Errorf("got %+v", f)
		}
	}
}

// A call that failed takes the checks with it that would say something wrong without its
// answer, and says which ones.
func TestACheckIsNotMadeOfHalfTheAnswers(t *testing.T) {
	t.Parallel()
	for call, ids := range map[string]string{
		"lambda:ListFunctions": "P01", "ec2:DescribeRouteTables": "P02, P03, P04", "ec2:DescribeVpcEndpoints": "P14, P15, P17",
		"route53resolver:ListFirewallRules": "P16", "iam:GetAccountAuthorizationDetails": "P21",
	} {
		set := sound()
		a := open(set)
		a.Tables, a.Endpoints, a.VPCs[0].Firewall, a.Roles = nil, nil, snapshot.Firewall{}, nil
		region := "eu-west-1"
		if strings.HasPrefix(call, "iam:") {
			region = ""
		}
		a.Unread = []snapshot.Unread{{Region: region, Call: call, Code: "AccessDenied"}}
		told := false
		for _, f := range All(set, a.opts) {
			told = told || f.ID == finding.Unread && f.Resource == call && f.Severity == finding.High && strings.Contains(f.Consequence, ids)
			if strings.Contains(ids, f.ID) {
				t.Errorf("without %s: %+v", call, f)
			}
		}
		if !told {
			t.Errorf("without %s nobody says that %s were not made", call, ids)
		}
	}
}
