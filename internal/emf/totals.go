package emf

import (
	"cmp"
	"fmt"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// lookups is the protocol of decisions that are no requests.
const lookups = "dns"

// totals is what is printed of one look at the registry. Counters are in it as what they
// grew by since a line last said so, series by series: one that is gone, because the policy
// has its function no more, takes nothing back.
type totals struct {
	printer   *Printer
	decisions map[decision]*growth
	counted   map[string]float64 // by the member of the task's line
	seen      map[string]float64 // every series of a counter, as it stands
	functions map[string]*gauges
	bounds    map[string]*bound

	tunnels, resolversDown, restartPending, auditPending float64
	memoryUsed, memoryLimit                              float64
	loaded                                               float64 // 1: the last load of the configuration succeeded

	certificateEnd, ruleEnd, reportEnd *float64 // Unix seconds of the first; nil: there is none
}

// decision is what decisions are told apart by.
type decision struct{ function, verdict, reason string }

// growth is what the series of one line have grown by.
type growth struct {
	by     float64
	series []string
}

// gauges are what a function has at an instant.
type gauges struct {
	tunnels  float64
	daysLeft *float64 // nil: it enforces
}

// bound is how much of a row of the table of bounds is in use.
type bound struct{ used, size float64 }

// counters are the members of the task's line that count.
var counters = []string{
	"AuditLost", "LogLinesDropped", "Requests", "Refused", "Limited", "OriginsFailed",
	"IdentityRejected", "ChallengesUnanswered", "Handshakes", "HandshakesFailed",
}

// sum gathers the registry and adds up what is printed.
func (p *Printer) sum() (*totals, error) {
	families, err := p.Gatherer.Gather()
	if err != nil {
		return nil, err
	}
	t := &totals{
		printer: p, decisions: map[decision]*growth{}, counted: map[string]float64{}, seen: map[string]float64{},
		functions: map[string]*gauges{}, bounds: map[string]*bound{},
	}
	for _, member := range counters {
		t.counted[member] = 0
	}
	for _, f := range families {
		add := adders[f.GetName()]
		if add == nil {
			continue
		}
		for _, m := range f.GetMetric() {
			s := series{number: m.GetCounter().GetValue() + m.GetGauge().GetValue()}
			for _, l := range m.GetLabel() { // sorted by their names
				s.labels = append(s.labels, label{l.GetName(), l.GetValue()})
			}
			s.key = fmt.Sprintf("%s%q", f.GetName(), s.labels)
			add(t, s)
		}
	}
	return t, nil
}

// series is one series of a metric.
type series struct {
	key    string // its metric and labels
	labels []label
	number float64
}

// label is one label of a series.
type label struct{ name, value string }

// of returns the value of a label, noValue where it is empty.
func (s series) of(name string) string {
	for _, l := range s.labels {
		if l.name == name {
			return cmp.Or(l.value, noValue)
		}
	}
	return noValue
}

// adders take one series over, by the name of its metric; what is not here is not printed.
var adders = map[string]func(*totals, series){
	"egress_decisions_total":         (*totals).addDecisions,
	"egress_tunnels":                 (*totals).addTunnels,
	"egress_audit_lost_total":        func(t *totals, s series) { t.count(s, "AuditLost") },
	"egress_log_lines_dropped_total": func(t *totals, s series) { t.count(s, "LogLinesDropped") },
	"egress_identity_rejected_total": func(t *totals, s series) { t.count(s, "IdentityRejected") },
	"egress_challenges_total": func(t *totals, s series) {
		if s.of("outcome") == "unanswered" {
			t.count(s, "ChallengesUnanswered")
		}
	},
	"egress_tls_handshakes_total": func(t *totals, s series) {
		switch {
		case s.of("cause") == "client_left": // health checks do; an alarm must not take them for clients
		case s.of("result") == "failed":
			t.count(s, "Handshakes", "HandshakesFailed")
		default:
			t.count(s, "Handshakes")
		}
	},
	"egress_dns_upstream_up": func(t *totals, s series) {
		if s.number == 0 {
			t.resolversDown++
		}
	},
	"egress_report_mode_days_left":         func(t *totals, s series) { t.function(s).daysLeft = &s.number },
	"egress_config_last_reload_successful": func(t *totals, s series) { t.loaded = s.number },
	"egress_config_restart_pending":        func(t *totals, s series) { t.restartPending = s.number },
	"egress_audit_pending_seconds":         func(t *totals, s series) { t.auditPending = s.number },
	"egress_memory_used_bytes":             func(t *totals, s series) { t.memoryUsed = s.number },
	"egress_memory_limit_bytes":            func(t *totals, s series) { t.memoryLimit = s.number },
	"egress_bound_used":                    func(t *totals, s series) { t.bound(s).used = s.number },
	"egress_bound_size":                    func(t *totals, s series) { t.bound(s).size = s.number },

	"egress_tls_certificate_expiry_timestamp_seconds": func(t *totals, s series) { sooner(&t.certificateEnd, s.number) },
	"egress_rule_expiry_timestamp_seconds":            func(t *totals, s series) { sooner(&t.ruleEnd, s.number) },
	"egress_report_mode_end_timestamp_seconds":        func(t *totals, s series) { sooner(&t.reportEnd, s.number) },
}

// sooner keeps the earlier of two ends, of which the first may be missing.
func sooner(end **float64, at float64) {
	if *end == nil || at < **end {
		*end = &at
	}
}

// count adds what a counter grew by to members of the task's line.
func (t *totals) count(s series, members ...string) {
	t.seen[s.key] = s.number
	grew := grownBy(t.printer.task, s.key, s.number)
	for _, member := range members {
		t.counted[member] += grew
	}
}

// grownBy returns what a series has grown by since it was printed; one that is less than it
// was began anew.
func grownBy(printed map[string]float64, key string, number float64) float64 {
	if before := printed[key]; before <= number {
		return number - before
	}
	return number
}

// addDecisions takes a series of decisions over, of one protocol: for a line of its own and
// for that of the task, which has requests apart from lookups, and refusals by what they are
// a sign of.
func (t *totals) addDecisions(s series) {
	d := decision{s.of("function"), s.of("verdict"), s.of("reason")}
	isRequest := s.of("protocol") != lookups
	t.count(s, membersOf(d, isRequest)...)
	if !t.printer.Functions {
		d.function = ""
	}
	if t.decisions[d] == nil {
		t.decisions[d] = &growth{}
	}
	g := t.decisions[d]
	g.by += grownBy(t.printer.lines, s.key, s.number)
	g.series = append(g.series, s.key)
}

// membersOf returns the members of the task's line that a decision counts in.
func membersOf(d decision, isRequest bool) (all []string) {
	if isRequest {
		all = append(all, "Requests")
	}
	if d.verdict != verdict.Deny.String() {
		return all // report mode may have let it through
	}
	reason, _ := verdict.ParseReason(d.reason)
	switch class := reason.Class(); {
	case class == verdict.ClassRefused:
		return append(all, "Refused")
	case class == verdict.ClassLimited:
		return append(all, "Limited")
	case class == verdict.ClassOrigin && isRequest:
		return append(all, "OriginsFailed")
	}
	return all
}

// addTunnels takes the open tunnels of a function over.
func (t *totals) addTunnels(s series) {
	t.tunnels += s.number
	t.function(s).tunnels = s.number
}

// function returns the gauges of the function of a series.
func (t *totals) function(s series) *gauges {
	name := s.of("function")
	if t.functions[name] == nil {
		t.functions[name] = &gauges{}
	}
	return t.functions[name]
}

// bound returns the row of the table of bounds that a series is about.
func (t *totals) bound(s series) *bound {
	name := s.of("bound")
	if t.bounds[name] == nil {
		t.bounds[name] = &bound{}
	}
	return t.bounds[name]
}

// fullestBound returns the row of which most is in use, among those that turn somebody away
// when they are full; "": there is none.
func (t *totals) fullestBound() (name string, percent float64) {
	for _, b := range bounds.All {
		row := t.bounds[b.Name]
		if !b.Refuses || row == nil || row.size <= 0 {
			continue
		}
		if of := row.used / row.size * 100; name == "" || of > percent {
			name, percent = b.Name, of
		}
	}
	return name, percent
}
