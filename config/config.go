// Package config reads the policy file: one YAML document and the files that
// it names, parsed once into typed values and compiled to a policy and to a
// table of callers.
//
// What it does: it is strict. An unknown key, a duplicate key, a second
// document, a name that is not defined, a pattern that is too wide are errors,
// and all errors of a file come out in one run, one line each:
//
//	egress.yaml:14: functions.billing.allow[2]: what is wrong; what would be right
//
// There are no warnings: a file is valid or it is not, and what is valid
// compiles. Keys that are absent have the defaults that the fields of Config
// document. What the environment holds changes nothing.
//
// What it does not do: it opens no sockets, watches no files (LoadWatched names what
// to watch), writes no logs, and has no state: a reload is another Load, and
// the caller keeps the old policy where that fails.
//
//	cfg, err := config.Load("egress.yaml")
//	if problems := (*config.Error)(nil); errors.As(err, &problems) { … one line each … }
//	pol, table, err := cfg.Compile()
package config

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// Problem is one thing that is wrong with a file, as one line:
//
//	egress.yaml:14: functions.billing.allow[2]: what is wrong; what would be right
type Problem = yamlread.Problem

// Error is every problem of a configuration, in the order of the file and then
// of the files that it names. It has at least one.
type Error = yamlread.Error

// Config is a valid configuration. Load and Parse make it; it is not changed
// afterwards.
type Config struct {
	Listen    Listen
	Deny      []policy.DenySpec // wins over every allow; empty: nothing is denied beyond the rules
	Sets      []Set             // in file order; rules refer to them by index
	Functions []Function        // in file order; at least one
	DNS       DNS
	Limits    Limits
	Audit     Audit

	hash string
}

// Set is a list of patterns that rules share.
type Set struct {
	Name     string
	Patterns []hostname.Pattern // empty: covers nothing
}

// Function is one function of the file.
type Function struct {
	Name        string
	Owner       string    // free text for records; may be empty
	Line        int       // of its key in the file
	ReportUntil time.Time // first instant at which it enforces again; zero: it enforces
	Identify    identity.Entry
	Allow       []policy.RuleSpec // empty: it may reach nothing
}

// DNS is the part of the DNS filter and of the resolver.
type DNS struct {
	Upstreams   []netip.AddrPort // empty: those of /etc/resolv.conf
	RefuseWith  Refusal          // default NXDomain
	Families    Families         // default FamiliesAuto
	Clients     []netip.Prefix   // who may ask the filter; empty: nobody
	AnswerUnion bool             // unknown sources get the names of all functions (default); false: nothing
	RecordAll   bool             // record answers too; false (default): refusals alone
	Types       []uint16         // record types that are answered; default A, AAAA, HTTPS, SVCB, CNAME, PTR
	// DistinctNamesPerMinute bounds the names below one wildcard that a client
	// may ask for; default 1,000.
	DistinctNamesPerMinute int
}

// Refusal is how the DNS filter refuses.
type Refusal uint8

// The ways to refuse, in the order of the words of the file.
const (
	NXDomain Refusal = iota // the name does not exist
	Refused                 // the server refuses
	NoData                  // the name has no such record
)

// Families says which address families names are resolved to.
type Families uint8

// The families, in the order of the words of the file.
const (
	FamiliesAuto Families = iota // IPv6 where the machine has a global IPv6 address
	FamiliesIP4
	FamiliesIP6
	FamiliesBoth
)

// Limits bound what callers can take. Every one is above zero.
type Limits struct {
	Tunnels            int           // open at once; default 20,000
	TunnelsPerFunction int           // open at once for one function; default 5,000, or Tunnels if that is less
	Unidentified       int           // connections that have not shown who they are; default 4,096
	HeaderTimeout      time.Duration // for the whole request header; default 10s
	HeaderBytes        int           // default 16 KiB
	DialTimeout        time.Duration // for all addresses of a host; default 5s
	HelloTimeout       time.Duration // for the whole ClientHello; default 5s
	IdleTimeout        time.Duration // no byte either way; default 330s
	Lifetime           time.Duration // of a tunnel; default 12h
	Drain              time.Duration // from SIGTERM until tunnels are cut; default 110s
	// RefusalRecords is how many refusals of one function, or of one source that
	// is no function's, get a record of their own in a minute; default 6,000.
	RefusalRecords int

	// Whether the file itself has these. The program cuts them
	// to the descriptors of the process, and warns where it was asked for more.
	HasTunnels, HasTunnelsPerFunction, HasUnidentified bool
}

// Audit says where records go.
type Audit struct {
	Output    string // path of a file; "": standard output (default)
	CountLoss bool   // let through and count what cannot be recorded; false (default): refuse it
}

// Hash returns the first 12 hex digits of the SHA-256 over the bytes of the
// configuration file and, behind them, of the files of its sets, in file
// order. Certificates are not part of it.
func (c *Config) Hash() string { return c.hash }

// Compile makes the policy and the table of callers. It does not fail on a
// Config that Load or Parse returned.
func (c *Config) Compile() (*policy.Policy, *identity.Table, error) {
	spec := policy.Spec{Hash: c.hash, Deny: c.Deny}
	for _, s := range c.Sets {
		spec.Sets = append(spec.Sets, s.Patterns)
	}
	for _, f := range c.Functions {
		spec.Functions = append(spec.Functions, policy.FunctionSpec{
			Name: f.Name, Owner: f.Owner, ReportUntil: f.ReportUntil, Rules: f.Allow,
		})
	}
	pol, err := policy.Compile(spec)
	if err != nil {
		return nil, nil, fmt.Errorf("compiling the policy: %w", err)
	}
	table, err := identity.New(c.entries())
	if err != nil {
		return nil, nil, fmt.Errorf("compiling the callers: %w", err)
	}
	return pol, table, nil
}

// entries returns how every function is identified.
func (c *Config) entries() []identity.Entry {
	all := make([]identity.Entry, len(c.Functions))
	for i, f := range c.Functions {
		all[i] = f.Identify
	}
	return all
}
