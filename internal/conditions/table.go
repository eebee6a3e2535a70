package conditions

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
)

const (
	// slow is for how many seconds a record may wait.
	slow = 1
	// near is how much of a bound may be in use.
	near = 0.8
	// wave is how many callers within a minute are more than the mistake of one.
	wave = 50
	// handshakes is how many that fail, where none succeeds, are more than a scan.
	handshakes = 5
)

// watched are the metrics that the table reads.
var watched = map[string]bool{
	"egress_dns_upstream_up": true, "egress_audit_pending_seconds": true, "egress_audit_lost_total": true, "egress_bound_used": true, "egress_bound_size": true,
	"egress_memory_short": true, "egress_config_last_reload_successful": true, "egress_config_restart_pending": true, "egress_identity_rejected_total": true,
	"egress_challenges_total": true, "egress_shed_total": true, "egress_tls_handshakes_total": true,
}

// table is every condition, as of now.
var table = []func(w *Watch, now time.Time) []Condition{
	resolvers, nearBounds, shed,
	func(w *Watch, now time.Time) []Condition {
		pending, lost := w.gauge("egress_audit_pending_seconds"), w.grew(now, "egress_audit_lost_total", "", "")
		return []Condition{
			{Name: "records_slow", On: pending > slow, Text: "records wait for their output, and requests with them", Attrs: []slog.Attr{slog.Float64("seconds", pending)}},
			{Name: "records_lost", On: lost > 0, Text: "events have no record, because the output failed", Attrs: []slog.Attr{slog.Float64("lost", lost)}},
			{Name: "memory_short", On: w.gauge("egress_memory_short") > 0, Text: "memory runs short, and new requests are refused"},
		}
	},
	func(w *Watch, _ time.Time) []Condition {
		sections := w.gauge("egress_config_restart_pending")
		return []Condition{
			{Name: "reload_failed", On: w.samples["egress_config_last_reload_successful"] != nil && w.gauge("egress_config_last_reload_successful") == 0,
				Text: "the newest file does not load, and an older one is in force", BeginTold: true, EndTold: true},
			{Name: "restart_pending", On: sections > 0, Text: "changes of the file wait for the next start", BeginTold: true, Attrs: []slog.Attr{slog.Float64("sections", sections)}},
		}
	},
	func(w *Watch, now time.Time) []Condition {
		rejected, unanswered := w.grew(now, "egress_identity_rejected_total", "", ""), w.grew(now, "egress_challenges_total", "outcome", "unanswered")
		failed, ok := w.grew(now, "egress_tls_handshakes_total", "result", "failed"), w.grew(now, "egress_tls_handshakes_total", "result", "ok")
		return []Condition{
			{Name: "credentials_rejected", On: rejected >= wave, Text: "many credentials do not hold; egress_identity_rejected_total says whose", Attrs: []slog.Attr{slog.Float64("rejected", rejected)}},
			{Name: "challenges_unanswered", On: unanswered >= wave, Text: "many callers show no credential, and do not come back with one", Attrs: []slog.Attr{slog.Float64("unanswered", unanswered)}},
			{Name: "handshakes_fail", On: failed >= handshakes && ok == 0, Text: "TLS handshakes fail and none succeeds; look at the certificate", Attrs: []slog.Attr{slog.Float64("failed", failed)}},
		}
	},
}

// resolvers has one condition for each upstream. Package upstream has a line for the begin
// and the end, with the error.
func resolvers(w *Watch, _ time.Time) (all []Condition) {
	for _, s := range w.samples["egress_dns_upstream_up"] {
		all = append(all, Condition{
			Name: "resolver_down", Of: s.labels["upstream"], On: s.number == 0, Text: "a resolver does not answer", BeginTold: true, EndTold: true,
		})
	}
	return all
}

// nearBounds has two conditions for each row of the table of bounds that turns somebody away
// when it is full.
func nearBounds(w *Watch, _ time.Time) (all []Condition) {
	used := map[string]float64{}
	for _, s := range w.samples["egress_bound_used"] {
		used[s.labels["bound"]] = s.number
	}
	for _, s := range w.samples["egress_bound_size"] {
		name := s.labels["bound"]
		if !bounds.Refuses(name) || s.number <= 0 {
			continue
		}
		attrs := []slog.Attr{slog.Float64("used", used[name]), slog.Float64("size", s.number)}
		all = append(all,
			Condition{Name: "bound_near", Of: name, On: used[name] >= near*s.number, Text: "a bound is nearly full; docs/limits.md says what becomes of who comes then", Attrs: attrs},
			Condition{Name: "bound_full", Of: name, On: used[name] >= s.number, Text: "a bound is full", Attrs: attrs})
	}
	return all
}

// shed has one condition for each thing that the proxy as a whole lacks: what one function
// has its share of is told elsewhere.
func shed(w *Watch, now time.Time) (all []Condition) {
	for _, cause := range [...]string{"tunnels", "memory", "descriptors", "ports", "kernel_memory"} {
		refused := w.grew(now, "egress_shed_total", "cause", cause)
		all = append(all, Condition{
			Name: "shed", Of: cause, On: refused > 0, Text: fmt.Sprintf("requests are refused for want of %s", cause), Attrs: []slog.Attr{slog.Float64("refused", refused)},
		})
	}
	return all
}
