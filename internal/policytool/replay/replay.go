// Package replay says what a policy would do to the traffic of the past.
//
// What it does: it asks package policy about each target that records show: what was let
// through then and would be refused now, and what the policy refused then and would be let
// through now. The addresses that names led to then count, and whether a tunnel was TLS to
// its host, as far as the records have it.
//
// What it does not do: it does not replay identities, limits, lookups, or the aliases of
// names, which records do not have.
//
//	a, err := replay.Run(replay.Query{Config: cfg, File: "new.yaml", Traffic: t, Now: time.Now()})
//	if len(a.Refuses) > 0 { … }
package replay

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/traffic"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/printable"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// Query is what is asked.
type Query struct {
	Config  *config.Config
	File    string // where Config was read from
	Traffic *traffic.Traffic
	Now     time.Time // rules that have expired by then do not hold
}

// Answer is what the policy would do. Its JSON is what "proxy replay" prints.
type Answer struct {
	File     string   `json:"file"`
	Policy   string   `json:"policy"`   // the hash
	Targets  int      `json:"targets"`  // how many were judged
	Requests uint64   `json:"requests"` // of them
	Refuses  []Change `json:"refuses"`  // let through then, refused now; never nil, nor are the next two
	Allows   []Change `json:"allows"`   // refused then by the policy, let through now
	Unsure   []Change `json:"unsure"`   // let through then; now only if it is TLS to the host, which the records do not say
	Gaps     []string `json:"gaps"`     // what of the records is missing
}

// Change is a target of which something else would become.
type Change struct {
	Function string `json:"function"`
	Target   string `json:"target"` // host:port; of a DNS question the name
	Requests uint64 `json:"requests"`
	Reason   string `json:"reason,omitempty"` // why it would be refused
	Rule     string `json:"rule,omitempty"`   // that decides now; "": none
	Line     int    `json:"line,omitempty"`
	Report   bool   `json:"report,omitempty"` // let through by report mode alone
}

// Run judges the records. It does not fail on a Config that was loaded.
func Run(q Query) (*Answer, error) {
	p, _, err := q.Config.Compile()
	if err != nil {
		return nil, err
	}
	a := &Answer{File: q.File, Policy: p.Hash(), Refuses: []Change{}, Allows: []Change{}, Unsure: []Change{}, Gaps: append([]string{}, q.Traffic.Gaps...)}
	for key, s := range q.Traffic.Targets {
		if s.Passed()+s.Refused == 0 {
			continue
		}
		a.Targets++
		a.Requests += s.Passed() + s.Refused
		a.judge(p, key, s, q.Now)
	}
	for _, list := range [][]Change{a.Refuses, a.Allows, a.Unsure} {
		slices.SortFunc(list, func(x, y Change) int {
			return cmp.Or(strings.Compare(x.Function, y.Function), strings.Compare(x.Target, y.Target), strings.Compare(x.Reason, y.Reason))
		})
	}
	return a, nil
}

// judge judges one target.
func (a *Answer) judge(p *policy.Policy, key traffic.Key, s *traffic.Sum, now time.Time) {
	target, err := key.Target()
	if err != nil {
		return // the records would not have it
	}
	f := p.Function(key.Function)
	d := p.Decide(f, target, now)
	c := Change{Function: key.Function, Target: target.String()}
	if key.Port == 0 {
		l := p.Lookup(f, target.Host.Name(), now)
		d, c.Target = l.Decision, key.Host
	}
	c.Rule, c.Line, c.Report = d.Rule.String(), d.Rule.Line(), d.Verdict == verdict.Report
	if d.Verdict == verdict.Deny {
		a.refuse(c, s.Passed(), d.Reason)
		return
	}
	if s.Refused > 0 {
		c.Requests = s.Refused
		a.Allows = append(a.Allows, c)
	}
	for _, addr := range s.Addresses {
		if !d.PermitsAddress(addr) {
			a.refuse(c, s.Passed(), verdict.ReasonAddressNotAllowed)
			return
		}
	}
	if d.Verdict == verdict.Allow && d.Rule.TLS() == policy.TLSVerify && key.Port != 0 {
		a.hello(c, key, s)
	}
}

// hello judges what was seen of the ClientHello where the rule wants TLS to the host.
func (a *Answer) hello(c Change, key traffic.Key, s *traffic.Sum) {
	switch {
	case key.Clear && key.Port == 80:
	case key.Clear:
		a.refuse(c, s.Passed(), verdict.ReasonNotTLS)
	default:
		a.refuse(c, s.NotTLS, verdict.ReasonNotTLS)
		a.refuse(c, s.OtherName, verdict.ReasonSNIMismatch)
		if known := s.NotTLS + s.OtherName; s.Unseen > known {
			c.Requests = s.Unseen - known
			a.Unsure = append(a.Unsure, c)
		}
	}
}

// refuse adds requests that would be refused, where there are any.
func (a *Answer) refuse(c Change, requests uint64, r verdict.Reason) {
	if requests == 0 {
		return
	}
	c.Requests, c.Reason, c.Report = requests, r.String(), false
	a.Refuses = append(a.Refuses, c)
}

// Write writes the answer for people.
func (a *Answer) Write(w io.Writer) error {
	var b strings.Builder
	for _, g := range a.Gaps {
		fmt.Fprintf(&b, "missing: %s\n", g)
	}
	for _, list := range []struct {
		does    string
		changes []Change
	}{{"refuses", a.Refuses}, {"newly allows", a.Allows}} {
		for _, c := range list.changes {
			fmt.Fprintf(&b, "%s %s for %s, %d requests%s\n", list.does, c.Target, c.Function, c.Requests, c.why())
		}
	}
	if len(a.Unsure) > 0 {
		fmt.Fprintf(&b, "targets that the records do not know to be TLS to the host, which their rule wants: %d\n", len(a.Unsure))
	}
	fmt.Fprintf(&b, "%d requests for %d targets: refused %d targets, newly allowed %d\n", a.Requests, a.Targets, len(a.Refuses), len(a.Allows))
	_, err := io.WriteString(printable.Writer{W: w}, b.String())
	return err
}

// why says what decides now.
func (c *Change) why() string {
	var parts []string
	if c.Reason != "" {
		parts = append(parts, c.Reason)
	}
	if c.Rule != "" {
		parts = append(parts, fmt.Sprintf("%s (line %d)", c.Rule, c.Line))
	}
	if c.Report {
		parts = append(parts, "by report mode")
	}
	if len(parts) == 0 {
		return ""
	}
	return ": " + strings.Join(parts, ", ")
}

// WriteJSON writes the answer as one JSON document.
func (a *Answer) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(printable.Writer{W: w})
	e.SetIndent("", "  ")
	return e.Encode(a)
}
