// Package snapshot is what a reader of AWS has seen of accounts: functions, the network
// they are in, who may call them, and what could not be read.
//
// What it does: it holds plain values, and reads and writes them as JSON, so that a
// snapshot that was made where credentials are can be judged where none are.
//
// What it does not do: it asks AWS nothing and judges nothing. It has no place for the
// content of an environment variable: what looks like a secret is named by its kind, and
// the content is left with AWS.
//
//	set, err := snapshot.Read(file)
//	for _, a := range set.Snapshots { … }
package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// Format is the number of the file format. A file with another one is refused.
const Format = 1

// maxBytes bounds a file: an account of 10,000 functions takes some 20 MB.
const maxBytes = 512 << 20

// Set is a file: what was seen of some accounts at one time.
type Set struct {
	Format int    `json:"format"`
	Made   string `json:"made"` // RFC 3339, UTC
	// Snapshots has one for each account, in the order in which they were asked for.
	Snapshots []Snapshot `json:"accounts"`
}

// Snapshot is one account.
type Snapshot struct {
	ID      string   `json:"account"` // twelve digits, "" where nobody said which account it is
	Regions []Region `json:"regions"`
	Roles   []Role   `json:"roles"`   // those that functions run with
	Buckets []Bucket `json:"buckets"` // those that the reader was asked for
	Unread  []Unread `json:"unread"`  // nil: everything was read
}

// Region is what one region holds. Off says that the account has not enabled it, and that
// nothing was read.
type Region struct {
	Name       string      `json:"region"`
	Off        bool        `json:"off,omitempty"`
	Functions  []Function  `json:"functions"`
	VPCs       []VPC       `json:"vpcs"`
	Subnets    []Subnet    `json:"subnets"`
	Tables     []Table     `json:"route_tables"`
	Groups     []Group     `json:"groups"`
	Lists      []List      `json:"prefix_lists"`
	Endpoints  []Endpoint  `json:"endpoints"`
	Interfaces []Interface `json:"interfaces"` // of Lambda alone
}

// Unread is something that could not be read. A check that wants it has not been made.
type Unread struct {
	Region   string `json:"region,omitempty"`
	Call     string `json:"call"`               // as IAM writes it, lambda:GetPolicy
	Resource string `json:"resource,omitempty"` // "": all of the region
	Code     string `json:"code"`               // AWS's error code, or one word for what it was
	Detail   string `json:"detail,omitempty"`
	// Gone says that the resource was deleted between two calls, which hides nothing.
	Gone bool `json:"gone,omitempty"`
}

// Function is a Lambda function with what may reach it.
type Function struct {
	ARN      string    `json:"arn"` // without version
	Name     string    `json:"name"`
	Role     string    `json:"role"` // ARN
	Network  Network   `json:"network"`
	Vars     []Var     `json:"variables"`
	VarsCode string    `json:"variables_unread,omitempty"` // why variables are hidden; "": they are not
	Layers   []string  `json:"layers"`                     // ARNs with their versions
	Versions []Version `json:"versions"`                   // published ones
	Aliases  []Alias   `json:"aliases"`
	URLs     []URL     `json:"urls"`
	Policies []Policy  `json:"policies"` // of the function and of its aliases
	Mappings []string  `json:"mappings"` // ARNs of event sources
}

// Network is how a function, or a version of it, is attached. Without subnets it is
// outside of every VPC.
type Network struct {
	VPC     string   `json:"vpc,omitempty"`
	Subnets []string `json:"subnets,omitempty"`
	Groups  []string `json:"groups,omitempty"`
	IPv6    bool     `json:"ipv6,omitempty"` // it may have IPv6 in dual-stack subnets
}

// Var is an environment variable without its content.
type Var struct {
	Name string `json:"name"`
	// Proxy is the URL of a variable that names a proxy, with its user and secret taken out.
	Proxy string `json:"proxy,omitempty"`
	// Secret is what the content looks like: "access_key", "private_key", "url", "named";
	// "" is nothing of the kind, a reference to a secret included.
	Secret string `json:"secret,omitempty"`
}

// Version is a published version.
type Version struct {
	Number  string  `json:"version"`
	Network Network `json:"network"`
}

// Alias points to one version, or to two.
type Alias struct {
	Name     string   `json:"name"`
	Versions []string `json:"versions"`
}

// URL is the function URL of a function, or of an alias.
type URL struct {
	Qualifier string `json:"qualifier,omitempty"`
	Auth      string `json:"auth"` // AWS_IAM or NONE
}

// Policy is a policy document as AWS gave it, which may be no valid one.
type Policy struct {
	Name     string `json:"name,omitempty"` // of an alias, or of a role's policy
	Document string `json:"document"`
}

// VPC is a VPC. Owner is another account's ID where it is shared by one.
type VPC struct {
	ID     string         `json:"vpc"`
	Owner  string         `json:"owner"`
	Blocks []netip.Prefix `json:"blocks"`
	// Firewall is what Route 53 Resolver DNS Firewall does here.
	Firewall Firewall `json:"dns_firewall"`
}

// Firewall is the DNS Firewall of a VPC. Groups that are associated are counted; Blocks is
// how many of their rules block.
type Firewall struct {
	Groups   int  `json:"groups"`
	Blocks   int  `json:"blocking_rules"`
	FailOpen bool `json:"fail_open"`
}

// Subnet is a subnet. Free counts IPv4 addresses, of which one with IPv6 alone has none.
type Subnet struct {
	ID     string `json:"subnet"`
	VPC    string `json:"vpc"`
	Owner  string `json:"owner"`
	Zone   string `json:"zone"` // ID of the zone, which is the same in every account
	Free   int    `json:"free"`
	Native bool   `json:"ipv6_only,omitempty"`
	IPv6   bool   `json:"ipv6,omitempty"` // it has a block of IPv6
}

// Table is a route table. Main is that of the VPC: it holds for subnets that name none.
type Table struct {
	ID      string   `json:"table"`
	VPC     string   `json:"vpc"`
	Main    bool     `json:"main,omitempty"`
	Subnets []string `json:"subnets"`
	Routes  []Route  `json:"routes"`
}

// Route is a route. To is a prefix, or the ID of a prefix list.
type Route struct {
	To        string `json:"to"`
	Target    string `json:"target"` // ID of what it leads to: local, nat-…, igw-…
	Blackhole bool   `json:"blackhole,omitempty"`
}

// Group is a security group.
type Group struct {
	ID      string `json:"group"`
	Name    string `json:"name"`
	VPC     string `json:"vpc"`
	Egress  []Rule `json:"egress"`
	Ingress []Rule `json:"ingress"`
}

// Rule is a rule of a group: who or what is let through on which ports. Protocol is as
// AWS writes it, "-1" being all of them.
type Rule struct {
	Protocol string   `json:"protocol"`
	From     int32    `json:"from"`
	To       int32    `json:"to"`
	Blocks   []string `json:"blocks,omitempty"`
	Lists    []string `json:"lists,omitempty"`
	Groups   []string `json:"groups,omitempty"`
}

// List is a prefix list. Entries of those of AWS itself are not read.
type List struct {
	ID      string   `json:"list"`
	Name    string   `json:"name"`
	Owner   string   `json:"owner"` // "AWS", or an account
	Entries []string `json:"entries"`
}

// Endpoint is a VPC endpoint.
type Endpoint struct {
	ID      string   `json:"endpoint"`
	VPC     string   `json:"vpc"`
	Service string   `json:"service"` // com.amazonaws.eu-west-1.s3
	Kind    string   `json:"kind"`    // Gateway, Interface, GatewayLoadBalancer
	Policy  string   `json:"policy"`  // "": it has none, which opens it
	Groups  []string `json:"groups"`
	Tables  []string `json:"tables"`
}

// Interface is a network interface of Lambda.
type Interface struct {
	ID     string   `json:"interface"`
	Subnet string   `json:"subnet"`
	Groups []string `json:"groups"`
	IPs    []string `json:"addresses"`
}

// Role is a role that a function runs with, and its policies.
type Role struct {
	ARN      string   `json:"arn"`
	Policies []Policy `json:"policies"`
	Boundary *Policy  `json:"boundary,omitempty"` // nil: none
}

// Bucket is a bucket that a policy of the gate is read from.
type Bucket struct {
	Name   string `json:"bucket"`
	Policy string `json:"policy"` // "": it has none
}

// Write writes a set as indented JSON.
func (s *Set) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	if err := enc.Encode(s); err != nil {
		return fmt.Errorf("writing the snapshot: %w", err)
	}
	return nil
}

// Read reads a set. A member that the format does not have is an error: it would have
// said something that no check would see.
func Read(r io.Reader) (*Set, error) {
	limited := &io.LimitedReader{R: r, N: maxBytes}
	dec := json.NewDecoder(limited)
	dec.DisallowUnknownFields()
	var s Set
	if err := dec.Decode(&s); err != nil {
		return nil, fmt.Errorf("reading the snapshot: %w", err)
	}
	if s.Format != Format {
		return nil, fmt.Errorf("reading the snapshot: format %d, this program reads %d", s.Format, Format)
	}
	if _, err := time.Parse(time.RFC3339, s.Made); err != nil {
		return nil, fmt.Errorf("reading the snapshot: %w", err)
	}
	if len(s.Snapshots) == 0 {
		return nil, errors.New("reading the snapshot: it has no account")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("reading the snapshot: something stands behind it")
	}
	return &s, nil
}
