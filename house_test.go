package repo

import (
	"go/ast"
	"path"
	"slices"
	"strings"
	"testing"
)

// ownReasons are the reasons that a package may name beside packages verdict and gate,
// where the order of the decision stands: what it finds by itself, before the decision,
// behind it, or as the answer to what gate has asked for. ReasonNone may be named by
// everyone.
var ownReasons = map[string][]string{
	"proxy":               {"BadRequest"},                     // of a head
	"internal/clientconn": {"BadRequest", "IdentityRejected"}, // of a PROXY header, of a certificate
	// What a lookup or a record can have wrong; draining, and who is over its budget of
	// failures.
	"internal/exchange": {
		"DNSFailed", "DNSTimeout", "AuditUnavailable", "Draining", "IdentityRequired", "LimitFailures",
		"KeysUnavailable", "LimitFunction", "LimitTotal",
	},
	"internal/refusal":     {"BadRequest", "BadTarget"},                                      // of which there are several kinds
	"internal/connect":     {"AuditUnavailable", "Draining", "HelloTimeout"},                 // of a record and a ClientHello
	"internal/forward":     {"BadRequest", "OriginFailed"},                                   // of content and of an origin
	"internal/egress":      {"AddressNotAllowed", "DialFailed", "DialTimeout", "LimitTotal"}, // why a dial failed
	"internal/admission":   {"LimitFunction", "LimitTotal", "LimitFailures", "IdentityRejected"},
	"internal/fair":        {"LimitFunction", "LimitTotal"},
	"internal/httphead":    {"BadRequest", "BadTarget", "HTTPSNotTunneled", "SchemeNotSupported"}, // forms of a target
	"internal/policy":      {"HostDenied", "HostNotAllowed", "PortNotAllowed", "RuleExpired"},     // of the lists
	"internal/perfunction": {"HostNotAllowed"},                                                    // of a series that is there from the beginning
	"internal/lookup":      {"DNSFailed", "DNSTimeout"},                                           // of explain's lookup
	"internal/ocsf":        {"HTTPSNotTunneled"},
	"internal/explain":     {"BadTarget", "IdentityRejected", "IdentityRequired"}, // of what is asked about
	// What records say of the past; nothing is decided by it.
	"internal/policytool/traffic": {"HostDenied", "HostNotAllowed", "NotTLS", "PortNotAllowed", "RuleExpired", "SNIMismatch", "SNIMissing"},
	"internal/policytool/learn":   {"HostDenied", "PortNotAllowed", "RuleExpired"},
	"internal/policytool/replay":  {"AddressNotAllowed", "NotTLS", "SNIMismatch"},
	// What the resolver or a record can have wrong; draining, and no room to wait.
	"dnsfilter":      {"AuditUnavailable", "DNSFailed", "DNSTimeout", "Draining", "LimitTotal"},
	"dnsfilter/wire": {"BadRequest", "TypeNotAllowed"}, // of a packet
}

// The order of the decision is one table in package gate. A reason that another package
// names is a step that it walks by itself.
func TestTheStepsOfTheDecisionStandOnce(t *testing.T) {
	t.Parallel()
	used := map[string]map[string]bool{}
	for _, s := range sources(t) {
		dir := path.Dir(s.name)
		if dir == "internal/verdict" || dir == "internal/gate" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			reason, ok := strings.CutPrefix(sel.Sel.Name, "Reason")
			if of, is := sel.X.(*ast.Ident); !ok || !is || of.Name != "verdict" || reason == "" || reason == "None" || reason == "s" {
				return true
			}
			if used[dir] == nil {
				used[dir] = map[string]bool{}
			}
			used[dir][reason] = true
			if !slices.Contains(ownReasons[dir], reason) {
				t.Errorf("%s:%d: %s decides %s; a step of the decision belongs to internal/gate", s.name, s.line(sel.Pos()), dir, sel.Sel.Name)
			}
			return true
		})
	}
	for dir, reasons := range ownReasons {
		for _, reason := range reasons {
			if !used[dir][reason] {
				t.Errorf("%s no longer names Reason%s; take it off ownReasons", dir, reason)
			}
		}
	}
}

// recordWriters are the files that write records of decisions, and who counts them there.
var recordWriters = map[string]string{
	"internal/exchange/record.go": "Recorded",
	"dnsfilter/exchange.go":       "conclude",
	"dnsfilter/handle.go":         "the same, for questions of one read",
}

// Whoever writes a record counts it, so that the two agree: one place of each front, in
// whatever package.
func TestRecordsAreWrittenInOneFile(t *testing.T) {
	t.Parallel()
	writers := map[string]bool{}
	for _, s := range sources(t) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || !slices.Contains([]string{"Record", "RecordAll", "Post"}, sel.Sel.Name) {
				return true
			}
			if of, ok := sel.X.(*ast.SelectorExpr); ok && of.Sel.Name == "Audit" {
				writers[s.name] = true
			}
			return true
		})
	}
	for name := range writers {
		if recordWriters[name] == "" {
			t.Errorf("%s writes records of decisions, and is not of recordWriters", name)
		}
	}
	for name := range recordWriters {
		if !writers[name] {
			t.Errorf("%s writes no record; take it off recordWriters", name)
		}
	}
}
