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
// document; those of the program, dns, limits and audit, are read by package settings. What the environment holds changes nothing.
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
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/settings"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/attest"
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
	AWS       *attest.Trust     // by what tokens of AWS hold; nil: none does
	Deny      []policy.DenySpec // wins over every allow; empty: nothing is denied beyond the rules
	Sets      []Set             // in file order; rules refer to them by index
	Functions []Function        // in file order; at least one
	DNS       settings.DNS
	Limits    settings.Limits
	Audit     settings.Audit

	DenyPrincipals []string // ARNs that identify nobody any more, a star at the end for any rest
	DenyTokens     []string // the jti of tokens that hold no more

	hash     string
	compiled *policy.Policy // what the tests were held against; nil: there are none
}

// Set is a list of patterns that rules share.
type Set struct {
	Name     string
	File     string             // the included file that it stands in; "": the configuration itself
	Line     int                // of its key in the file
	Patterns []hostname.Pattern // empty: covers nothing
}

// Function is one function of the file.
type Function struct {
	Name        string
	Owner       string    // free text for records; may be empty
	File        string    // the included file that it stands in, as the configuration names it; "": the configuration itself
	Line        int       // of its key in the file
	ReportUntil time.Time // first instant at which it enforces again; zero: it enforces
	Identify    identity.Entry
	Allow       []policy.RuleSpec // empty: it may reach nothing
}

// Hash returns the first 12 hex digits of the SHA-256 over the bytes of the
// configuration file and, behind them, of the files of its sets, in file
// order, and of each included file with its name, its length and its sets. Certificates are
// not part of it.
func (c *Config) Hash() string { return c.hash }

// Spec returns what the policy is compiled from, which shares the Config's lists.
func (c *Config) Spec() policy.Spec {
	spec := policy.Spec{Hash: c.hash, Deny: c.Deny}
	for _, s := range c.Sets {
		spec.Sets = append(spec.Sets, s.Patterns)
	}
	for _, f := range c.Functions {
		spec.Functions = append(spec.Functions, policy.FunctionSpec{
			Name: f.Name, Owner: f.Owner, File: f.File, ReportUntil: f.ReportUntil, Rules: f.Allow,
		})
	}
	return spec
}

// Compile makes the policy and the table of callers. It does not fail on a
// Config that Load or Parse returned.
func (c *Config) Compile() (*policy.Policy, *identity.Table, error) {
	pol, err := c.compiled, error(nil)
	if pol == nil {
		pol, err = policy.Compile(c.Spec())
	}
	if err != nil {
		return nil, nil, fmt.Errorf("compiling the policy: %w", err)
	}
	trust := identity.Trust{AWS: c.AWS, DenyPrincipals: c.DenyPrincipals, DenyTokens: c.DenyTokens}
	if c.Listen.TLS != nil {
		trust.Authorities = c.Listen.TLS.ClientCA
	}
	table, err := identity.NewTable(trust, c.entries())
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
