// Package policy answers one question: may this function reach that
// destination? It holds the compiled, immutable Policy; its words are those of
// packages hostname, ipclass and verdict.
//
// What it does: it compiles a Spec into hash tables, and decides without
// allocating and without scanning rules. Every zero value refuses.
//
// What it does not do: it performs no I/O, resolves nothing, reads no clock
// (the caller passes the instant), does not know who calls (package identity
// does) and does not read files (package config does).
//
//	p, err := policy.Compile(spec)
//	d := p.Decide(p.Function("billing"), target, time.Now())
//	if d.Verdict == verdict.Deny { … d.Reason, d.Rule … }
//	if !d.PermitsAddress(addr) { … verdict.ReasonAddressNotAllowed … }
package policy

import (
	"fmt"
	"hash/maphash"
	"net/netip"
	"slices"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy/matcher"
)

// Policy is one compiled policy file. It is immutable and safe for concurrent
// use. A nil *Policy refuses everything.
type Policy struct {
	hash      string
	seed      maphash.Seed // of every list
	deny      matcher.Group
	functions map[string]*Function
	names     []string
	rules     int
}

// Function is the compiled allow-list of one function. A nil *Function is
// allowed nothing.
type Function struct {
	name        string
	owner       string
	reportUntil int64 // Unix seconds, exclusive; 0: enforce
	own         *matcher.List
	conditions  []*Conditions // what own's entries point at
	sets        []setRef
	lists       matcher.Group // own, then those of sets
	cidrs       cidrTable
	count       int
	expiries    []Expiry // by line
}

// Expiry is the end of a rule that has one.
type Expiry struct {
	At   time.Time // first instant at which the rule no longer holds
	Line int       // of the rule in the file
}

// rule is the stored form of one allow entry; Rule is the form handed out.
type rule struct {
	index      int32
	line       int32
	conditions *Conditions
}

// noConditions are those of a rule without any: no port, hence no request.
var noConditions Conditions

// setRef is an allow entry that names a shared set.
type setRef struct {
	rule rule
	list *matcher.List
}

// Spec is what a policy is compiled from. The zero Spec compiles to a policy
// that refuses everything.
type Spec struct {
	Hash      string               // identifies the file in records: first 12 hex digits of its SHA-256
	Deny      []DenySpec           // wins over every allow of every function
	Sets      [][]hostname.Pattern // lists shared by functions, referred to by index
	Functions []FunctionSpec
}

// DenySpec is one line of the deny list.
type DenySpec struct {
	Pattern hostname.Pattern
	Line    int // line in the file, for records and Explain
}

// FunctionSpec is one function of a Spec.
type FunctionSpec struct {
	Name        string
	Owner       string
	ReportUntil time.Time // first instant at which the function enforces again; zero: it enforces now
	Rules       []RuleSpec
}

// RuleSpec is one entry of a function's allow list. Exactly one of Pattern,
// Prefix and Set says what it covers.
type RuleSpec struct {
	Line       int
	Pattern    hostname.Pattern // a host rule; the zero Pattern: not a host rule
	Prefix     netip.Prefix     // a rule for literal addresses; the zero Prefix: not one
	Set        int              // 1 + index into Spec.Sets; 0: not a set rule
	Conditions *Conditions      // shared between rules where equal; nil: no port, hence allows nothing
}

// Compile builds the policy. It fails on a Spec that contradicts itself: a
// function without a name or named twice, a rule that covers nothing or two
// things, a set that is not there, a list of more than 4 GiB of text. The
// policy keeps the Conditions; the caller must not change them afterwards.
func Compile(s Spec) (*Policy, error) {
	p := &Policy{hash: s.Hash, seed: maphash.MakeSeed(), functions: make(map[string]*Function, len(s.Functions))}
	sets, err := compileSets(s.Sets, p.seed)
	if err != nil {
		return nil, err
	}
	deny, err := compileDeny(s.Deny, p.seed)
	if err != nil {
		return nil, err
	}
	p.deny = matcher.NewGroup(p.seed, deny)
	for _, fs := range s.Functions {
		if _, dup := p.functions[fs.Name]; dup || fs.Name == "" {
			return nil, fmt.Errorf("compiling functions.%s: it has no name, or that of another", fs.Name)
		}
		f, err := compileFunction(fs, p.seed, sets)
		if err != nil {
			return nil, fmt.Errorf("compiling functions.%s: %w", fs.Name, err)
		}
		p.functions[fs.Name] = f
		p.names = append(p.names, fs.Name)
		p.rules += f.count
	}
	slices.Sort(p.names)
	return p, nil
}

// compileSets compiles the shared lists. Their entries say nothing: the rule
// that names the set does.
func compileSets(sets [][]hostname.Pattern, seed maphash.Seed) ([]*matcher.List, error) {
	lists := make([]*matcher.List, len(sets))
	for i, patterns := range sets {
		var err error
		if lists[i], err = matcher.NewSet(seed, patterns); err != nil {
			return nil, fmt.Errorf("compiling sets[%d]: %w", i, err)
		}
	}
	return lists, nil
}

// compileDeny compiles the deny list.
func compileDeny(lines []DenySpec, seed maphash.Seed) (*matcher.List, error) {
	b := matcher.Builder{Seed: seed, FirstOnly: true}
	b.Grow(len(lines))
	for i, d := range lines {
		if d.Pattern.IsZero() {
			return nil, fmt.Errorf("compiling deny[%d]: it has no pattern", i)
		}
		b.Add(d.Pattern, matcher.Entry{Index: int32(i), Line: int32(d.Line)})
	}
	l, err := b.Build()
	if err != nil {
		return nil, fmt.Errorf("compiling deny: %w", err)
	}
	return l, nil
}

// compileFunction compiles one function; sets are the compiled shared lists.
func compileFunction(fs FunctionSpec, seed maphash.Seed, sets []*matcher.List) (*Function, error) {
	f := &Function{name: fs.Name, owner: fs.Owner}
	if !fs.ReportUntil.IsZero() {
		f.reportUntil = fs.ReportUntil.Unix()
	}
	b := matcher.Builder{Seed: seed}
	b.Grow(len(fs.Rules))
	numbers := map[*Conditions]int32{} // equal rules share their conditions
	for i, rs := range fs.Rules {
		if rs.kinds() != 1 {
			return nil, fmt.Errorf("allow[%d]: a rule covers exactly one of a host, a set and a cidr", i)
		}
		if rs.Set < 0 || rs.Set > len(sets) {
			return nil, fmt.Errorf("allow[%d]: no set number %d", i, rs.Set)
		}
		r := rule{index: int32(i), line: int32(rs.Line), conditions: rs.Conditions}
		if r.conditions == nil {
			r.conditions = &noConditions
		}
		f.addExpiry(r)
		switch {
		case rs.Set > 0:
			f.sets = append(f.sets, setRef{rule: r, list: sets[rs.Set-1]})
			f.count += sets[rs.Set-1].Len()
		case rs.Prefix.IsValid():
			f.cidrs.add(rs.Prefix, r)
			f.count++
		default:
			number, known := numbers[r.conditions]
			if !known {
				number = int32(len(f.conditions))
				numbers[r.conditions] = number
				f.conditions = append(f.conditions, r.conditions)
			}
			b.Add(rs.Pattern, matcher.Entry{Index: r.index, Line: r.line, Conditions: number})
		}
	}
	var err error
	if f.own, err = b.Build(); err != nil {
		return nil, fmt.Errorf("allow: %w", err)
	}
	f.count += f.own.Len()
	lists := []*matcher.List{f.own}
	for _, ref := range f.sets {
		lists = append(lists, ref.list)
	}
	f.lists = matcher.NewGroup(seed, lists...)
	return f, nil
}

// addExpiry notes the end of a rule, if it has one.
func (f *Function) addExpiry(r rule) {
	if at := r.conditions.Expires; !at.IsZero() {
		f.expiries = append(f.expiries, Expiry{at, int(r.line)})
	}
}

// kinds counts how many things the rule says it covers.
func (rs RuleSpec) kinds() int {
	n := 0
	for _, has := range []bool{!rs.Pattern.IsZero(), rs.Prefix.IsValid(), rs.Set != 0} {
		if has {
			n++
		}
	}
	return n
}

// Hash returns the hash of the file the policy was compiled from: 12 hex
// digits, as records carry it.
func (p *Policy) Hash() string {
	if p == nil {
		return ""
	}
	return p.hash
}

// Function returns the function of that name, or nil, which is allowed nothing.
func (p *Policy) Function(name string) *Function {
	if p == nil {
		return nil
	}
	return p.functions[name]
}

// Functions returns the names of all functions, sorted. The caller must not
// change it.
func (p *Policy) Functions() []string {
	if p == nil {
		return nil
	}
	return p.names
}

// Rules returns the number of rules of all functions; a rule that names a set
// counts once for each of its patterns, and a pattern for a name and those below it as two.
func (p *Policy) Rules() int {
	if p == nil {
		return 0
	}
	return p.rules
}

// Name returns the function's name, "" for nil.
func (f *Function) Name() string {
	if f == nil {
		return ""
	}
	return f.name
}

// Owner returns the free text of the file, "" for nil.
func (f *Function) Owner() string {
	if f == nil {
		return ""
	}
	return f.owner
}

// Rules returns how many rules the function has, patterns of sets included.
func (f *Function) Rules() int {
	if f == nil {
		return 0
	}
	return f.count
}

// Expiries returns the ends of its rules, in the order of the file, those that have passed
// included. The caller must not change it.
func (f *Function) Expiries() []Expiry {
	if f == nil {
		return nil
	}
	return f.expiries
}

// Reports reports whether the function is in report mode at that instant.
func (f *Function) Reports(now time.Time) bool { return f != nil && f.reports(now.Unix()) }

// reports is Reports at that Unix second. One before the first, as that of the zero
// instant, is in no report mode.
func (f *Function) reports(now int64) bool { return max(now, 0) < f.reportUntil }

// LastReportDay returns the last day of report mode, as report_until in the file
// has it; zero: the function has no report mode.
func (f *Function) LastReportDay() time.Time {
	if until := f.ReportUntil(); !until.IsZero() {
		return until.AddDate(0, 0, -1)
	}
	return time.Time{}
}

// ReportUntil returns the first instant at which the function enforces again;
// zero: it has no report mode.
func (f *Function) ReportUntil() time.Time {
	if f == nil || f.reportUntil == 0 {
		return time.Time{}
	}
	return time.Unix(f.reportUntil, 0).UTC()
}
