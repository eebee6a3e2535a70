// Package learn proposes rules for what report mode has let through.
//
// What it does: of each target that records show, it asks package policy whether the rules
// of a file would let it through today. Where they would not, it proposes a rule for that
// one host, with the ports that were used. What a rule should not be made of is a doubt, and
// somebody has to decide it: names that may be made up, expired rules, hosts that are
// denied, what is not TLS to the host where a rule wants it.
//
// What it does not do: it proposes no wildcard, no set and no date. It does not know what
// the requests were for.
//
//	p, err := learn.Propose(learn.Query{Config: cfg, File: "egress.yaml", Traffic: t, Now: time.Now()})
//	err = p.Write(os.Stdout)
package learn

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/traffic"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// MaxNames is how many names below one parent are proposed as rules. More are a doubt:
// somebody may make them up, to carry data to whoever answers for them.
const MaxNames = 50

// maxDoubts is how many doubts of one function are told.
const maxDoubts = 100

// Query is what is asked.
type Query struct {
	Config  *config.Config
	File    string // where Config was read from
	Traffic *traffic.Traffic
	Now     time.Time
}

// Proposal is what the records would need. Its JSON is what "proxy learn" prints.
type Proposal struct {
	File      string            `json:"file"`
	Policy    string            `json:"policy"` // the hash of the file
	From      time.Time         `json:"from"`
	To        time.Time         `json:"to"`
	Policies  map[string]uint64 `json:"policies"` // requests by the hash of the policy that judged them
	Gaps      []string          `json:"gaps"`     // what of the records is missing; never nil
	Functions []Function        `json:"functions"`
}

// Function is what one function would need. One without rules and doubts is not in a Proposal.
type Function struct {
	Name   string   `json:"function"`
	Owner  string   `json:"owner,omitempty"`
	Rules  []Rule   `json:"rules"`  // never nil
	Doubts []string `json:"doubts"` // never nil
}

// Rule is a proposed rule, for one name or one address, and what it was made of.
type Rule struct {
	Host      string         `json:"host,omitempty"` // "": CIDR
	CIDR      string         `json:"cidr,omitempty"`
	Ports     []uint16       `json:"ports"`
	TLS       string         `json:"tls"`
	Addresses []netip.Prefix `json:"addresses,omitempty"` // those of the rule that has the host, not the port
	Requests  uint64         `json:"requests"`
	Days      int            `json:"days"`
	First     string         `json:"first"` // the day
	Last      string         `json:"last"`

	days map[time.Time]bool
}

// Propose judges the targets of the records by a policy. It does not fail on a Config that
// was loaded.
func Propose(q Query) (*Proposal, error) {
	p, _, err := q.Config.Compile()
	if err != nil {
		return nil, err
	}
	all := &Proposal{
		File: q.File, Policy: p.Hash(), From: q.Traffic.From, To: q.Traffic.To, Policies: q.Traffic.Policies,
		Gaps: append([]string{}, q.Traffic.Gaps...), Functions: []Function{},
	}
	of := map[string][]traffic.Key{}
	for key := range q.Traffic.Targets {
		of[key.Function] = append(of[key.Function], key)
	}
	suffixes := hostname.NewSuffixes()
	for _, name := range slices.Sorted(maps.Keys(of)) {
		l := &learner{q: &q, policy: p, function: p.Function(name), suffixes: suffixes, rules: map[string]*Rule{}, connected: map[string]bool{}}
		for i := range q.Config.Functions {
			if q.Config.Functions[i].Name == name {
				l.spec = &q.Config.Functions[i]
			}
		}
		if f := l.learn(name, of[name]); len(f.Rules)+len(f.Doubts) > 0 {
			all.Functions = append(all.Functions, f)
		}
	}
	return all, nil
}

// learner judges the targets of one function.
type learner struct {
	q        *Query
	policy   *policy.Policy
	function *policy.Function // nil: the policy has none of that name
	spec     *config.Function
	suffixes *hostname.Suffixes
	rules    map[string]*Rule // by what they cover and ask; of a name that was only asked for it has port 0
	doubts   []string
	// connected has the hosts that a rule is proposed for.
	connected map[string]bool
}

// learn judges all targets of a function.
func (l *learner) learn(name string, keys []traffic.Key) Function {
	f := Function{Name: name, Owner: l.function.Owner(), Rules: []Rule{}, Doubts: []string{}}
	slices.SortFunc(keys, func(a, b traffic.Key) int {
		return cmpOr(strings.Compare(a.Host, b.Host), int(b.Port)-int(a.Port))
	})
	if l.function == nil {
		f.Doubts = append(f.Doubts, fmt.Sprintf("%s has no such function; %d targets are of it", l.q.File, len(keys)))
		return f
	}
	for _, key := range keys {
		if s := l.q.Traffic.Targets[key]; s.Passed() > 0 {
			l.judge(key, s)
		}
	}
	l.withdraw()
	for _, id := range slices.Sorted(maps.Keys(l.rules)) {
		r := l.rules[id]
		if slices.Sort(r.Ports); r.Ports[0] == 0 {
			l.doubts = append(l.doubts, fmt.Sprintf("%s, %s: it was looked up and not connected to, so no port is known; add a rule, if it is meant", r.Host, counted(r.Requests, r.Days)))
			continue
		}
		f.Rules = append(f.Rules, *r)
	}
	f.Doubts = append(f.Doubts, l.doubts[:min(len(l.doubts), maxDoubts)]...)
	if more := len(l.doubts) - maxDoubts; more > 0 {
		f.Doubts = append(f.Doubts, fmt.Sprintf("%d targets more, for which no rule is proposed either", more))
	}
	return f
}

// cmpOr returns the first of two comparisons that is not equal.
func cmpOr(a, b int) int {
	if a != 0 {
		return a
	}
	return b
}

// doubt says of a target why no rule is proposed for it.
func (l *learner) doubt(key traffic.Key, s *traffic.Sum, why string) {
	text := key.Host
	if key.Port != 0 {
		text = fmt.Sprintf("%s:%d", key.Host, key.Port)
		if strings.Contains(key.Host, ":") {
			text = fmt.Sprintf("[%s]:%d", key.Host, key.Port)
		}
	}
	l.doubts = append(l.doubts, fmt.Sprintf("%s, %s: %s", text, counted(s.Passed(), len(s.Days)), why))
}

// judge judges one target that was let through.
func (l *learner) judge(key traffic.Key, s *traffic.Sum) {
	target, err := key.Target()
	if err != nil {
		return // the records would not have it
	}
	if key.Port == 0 {
		l.question(key, s, target.Host.Name())
		return
	}
	d := l.policy.Decide(l.function, target, l.q.Now)
	notTLS := s.NotTLS > 0 && !(key.Clear && key.Port == 80)
	switch {
	case d.Reason == verdict.ReasonHostDenied:
		l.doubt(key, s, d.Rule.String()+" has the host; no rule opens it")
	case d.Reason == verdict.ReasonRuleExpired:
		l.doubt(key, s, fmt.Sprintf("%s (line %d) has it and has expired; renew that rule, if it is still meant", d.Rule, d.Rule.Line()))
	case s.OtherName > 0:
		l.doubt(key, s, "the ClientHello named another host; correct the client")
	case d.Reason == verdict.ReasonNone && notTLS && d.Rule.TLS() == policy.TLSVerify:
		l.doubt(key, s, fmt.Sprintf("it is not TLS to the host, which %s (line %d) wants; write tls: any there, if that is meant", d.Rule, d.Rule.Line()))
	case d.Reason == verdict.ReasonNone:
	default:
		l.propose(key, s, d, notTLS)
	}
}

// question judges a name that was looked up by the DNS filter. What it is looked up for
// follows, as a rule, and has its port.
func (l *learner) question(key traffic.Key, s *traffic.Sum, name hostname.Name) {
	if found := l.policy.Lookup(l.function, name, l.q.Now); found.Reason == verdict.ReasonNone {
		return
	}
	if l.connected[key.Host] {
		return
	}
	r := &Rule{Host: key.Host, days: map[time.Time]bool{}}
	r.add(0, s)
	l.rules[key.Host+" asked"] = r
}

// propose makes a rule for a target, or adds its port to one for the same host.
func (l *learner) propose(key traffic.Key, s *traffic.Sum, d policy.Decision, notTLS bool) {
	rule := Rule{Host: key.Host, TLS: policy.TLSVerify.String()}
	if a, err := netip.ParseAddr(key.Host); err == nil {
		rule.Host, rule.CIDR = "", netip.PrefixFrom(a, a.BitLen()).String()
	}
	if notTLS {
		rule.TLS = policy.TLSAny.String()
	}
	if len(s.Addresses) > 0 {
		if rule.Addresses = l.opened(d); !permit(rule.Addresses, s.Addresses) {
			l.doubt(key, s, fmt.Sprintf("it led to %v, which is not public; write addresses in a rule of your own, if that is meant", s.Addresses[0]))
			return
		}
	}
	l.connected[key.Host] = true
	id := fmt.Sprint(rule.Host, " ", rule.CIDR, " ", rule.TLS, rule.Addresses)
	r := l.rules[id]
	if r == nil {
		rule.days = map[time.Time]bool{}
		r = &rule
		l.rules[id] = r
	}
	r.add(key.Port, s)
}

// opened returns the addresses that the rule opens which has the host and not the port.
func (l *learner) opened(d policy.Decision) []netip.Prefix {
	if d.Reason != verdict.ReasonPortNotAllowed || l.spec == nil {
		return nil
	}
	if c := l.spec.Allow[d.Rule.Index()].Conditions; c != nil {
		return c.Addresses
	}
	return nil
}

// permit reports whether each address is in one of the ranges.
func permit(ranges []netip.Prefix, all []netip.Addr) bool {
	return !slices.ContainsFunc(all, func(a netip.Addr) bool {
		return !slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(a) })
	})
}

// add adds a target to a rule.
func (r *Rule) add(port uint16, s *traffic.Sum) {
	if !slices.Contains(r.Ports, port) {
		r.Ports = append(r.Ports, port)
	}
	r.Requests += s.Passed()
	for _, d := range s.Days {
		r.days[d] = true
	}
	r.Days = len(r.days)
	if first := s.First.UTC().Format(time.DateOnly); r.First == "" || first < r.First {
		r.First = first
	}
	if last := s.Last.UTC().Format(time.DateOnly); last > r.Last {
		r.Last = last
	}
}

// withdraw takes the rules back whose names are too many below one parent, and says so once
// for the widest such parent.
func (l *learner) withdraw() {
	below := map[string]map[string]bool{}
	for _, r := range l.rules {
		for _, parent := range l.parents(r.Host) {
			if below[parent] == nil {
				below[parent] = map[string]bool{}
			}
			below[parent][r.Host] = true
		}
	}
	tooMany := slices.DeleteFunc(slices.Collect(maps.Keys(below)), func(p string) bool { return len(below[p]) <= MaxNames })
	slices.SortFunc(tooMany, func(a, b string) int {
		return cmpOr(strings.Count(a, ".")-strings.Count(b, "."), strings.Compare(a, b))
	})
	told := map[string]bool{}
	for _, parent := range tooMany {
		if slices.ContainsFunc(l.parents(parent), func(p string) bool { return told[p] }) {
			continue
		}
		told[parent] = true
		var requests uint64
		for id, r := range l.rules {
			if below[parent][r.Host] {
				requests += r.Requests
				delete(l.rules, id)
			}
		}
		l.doubts = append(l.doubts, fmt.Sprintf("%d names below %s, %d requests: somebody may have made them up, and no rule is proposed for any", len(below[parent]), parent, requests))
	}
}

// parents returns the names above one, without those under which a registry registers for
// anyone.
func (l *learner) parents(name string) (all []string) {
	for {
		_, above, ok := strings.Cut(name, ".")
		if !ok {
			return all
		}
		if name = above; !strings.Contains(name, ".") {
			return all // a top-level domain, listed or not
		}
		if p, err := hostname.ParsePattern("*." + name); err == nil && l.suffixes.WildcardScope(p) != hostname.ScopeRegistry {
			all = append(all, name)
		}
	}
}
