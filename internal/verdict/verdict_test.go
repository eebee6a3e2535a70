package verdict_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

func TestAnUnknownVerdictIsADeny(t *testing.T) {
	for v := range 256 {
		want := map[verdict.Verdict]string{verdict.Allow: "allow", verdict.Report: "report"}[verdict.Verdict(v)]
		if want == "" {
			want = "deny"
		}
		if got := verdict.Verdict(v).String(); got != want {
			t.Errorf("Verdict(%d) is %q, want %q", v, got, want)
		}
	}
	var zero verdict.Verdict
	if zero != verdict.Deny {
		t.Error("the zero Verdict is not Deny")
	}
}

// A refusal is the owner's to look at, or whoever runs the proxy, or neither.
func TestEveryReasonIsASignOfOneThing(t *testing.T) {
	want := map[verdict.Class]string{
		verdict.ClassChallenge: "identity_required",
		verdict.ClassMalformed: "bad_request bad_target loop method_not_allowed scheme_not_supported https_not_tunneled",
		verdict.ClassRefused:   "identity_rejected host_denied host_not_allowed port_not_allowed rule_expired type_not_allowed address_not_allowed sni_mismatch sni_missing not_tls hello_timeout",
		verdict.ClassLimited:   "keys_unavailable limit_failures limit_total limit_function limit_names draining audit_unavailable",
		verdict.ClassOrigin:    "dns_failed dns_timeout dial_failed dial_timeout origin_failed",
	}
	n := 0
	for class, words := range want {
		if got := strings.Join(verdict.OfClass(class), " "); got != words {
			t.Errorf("class %d has %s, want %s", class, got, words)
		}
		n += len(strings.Fields(words))
	}
	if all := len(verdict.Reasons()); n != all || verdict.ReasonNone.Class() != verdict.ClassNone {
		t.Errorf("%d of %d reasons have a class; that of none is %d", n, all, verdict.ReasonNone.Class())
	}
}

// A column that a row does not have is named, and every column is looked at.
func TestEveryReasonHasAFullRow(t *testing.T) {
	for _, r := range verdict.Reasons() {
		row := r.Row()
		for column, filled := range map[string]bool{
			"Word": row.Word != "", "Status": row.Status != 0, "ProxyStatus": row.ProxyStatus != "", "Alert": row.Alert != 0,
			"DNS.RCode": row.DNS.RCode != 0, "DNS.EDE": row.DNS.EDE != verdict.EDEOther || row.DNS.RCode == verdict.RCodeFormErr,
			"Outcome.Disposition": row.Outcome.Disposition != 0, "Outcome.Severity": row.Outcome.Severity != 0, "Fault": row.Fault != 0,
			"Advice": row.Advice != "", "Meaning": row.Meaning != "", "Remedy": row.Remedy != "",
		} {
			if !filled {
				t.Errorf("the row of reason %d %q has no %s", r, row.Word, column)
			}
		}
	}
}

func TestReasonsAreAClosedSetOfWords(t *testing.T) {
	all := verdict.Reasons()
	seen := map[string]bool{}
	word := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	for _, r := range all {
		s := r.String()
		if !word.MatchString(s) || seen[s] {
			t.Errorf("reason %d is %q", r, s)
		}
		seen[s] = true
		if back, ok := verdict.ParseReason(s); !ok || back != r {
			t.Errorf("%q is read as %q", s, back)
		}
	}
	if verdict.ReasonNone.String() != "" || slices.Contains(all, verdict.ReasonNone) {
		t.Errorf("ReasonNone is %q", verdict.ReasonNone)
	}
	for r := len(all) + 1; r < 256; r++ {
		if s := verdict.Reason(r).String(); s == "" || seen[s] {
			t.Errorf("the unknown reason %d is %q", r, s)
		}
	}
	for _, s := range []string{"", "Loop", "loop ", "reason_200"} {
		if r, ok := verdict.ParseReason(s); ok || r != verdict.ReasonNone {
			t.Errorf("%q is read as %q", s, r)
		}
	}
}

func TestWhatTheTableDoesNotHaveIsARefusal(t *testing.T) {
	for _, r := range []verdict.Reason{verdict.ReasonNone, verdict.Reason(200)} {
		row := r.Row()
		if row.Status.Code() != 403 || row.ProxyStatus != verdict.HTTPRequestDenied || row.Alert == 0 || row.DNS.RCode != verdict.RCodeRefuseWith ||
			row.Outcome != (verdict.Outcome{Disposition: verdict.Blocked, Severity: verdict.Low}) || row.Fault == verdict.FaultOutside {
			t.Errorf("reason %d is answered as %+v", r, row)
		}
	}
	if verdict.StatusClosed.Code() != 403 || verdict.StatusLookup.Code() != 403 {
		t.Error("a reason that is not answered over HTTP would let through there")
	}
}

// proxyErrors are the error types of RFC 9209, section 2.3, that go with a status,
// and exceptErrors where there is a more exact one.
var (
	proxyErrors = map[verdict.Status]verdict.ProxyError{
		400: verdict.HTTPRequestError, 405: verdict.HTTPRequestError, 501: verdict.HTTPRequestError,
		403: verdict.HTTPRequestDenied, 407: verdict.HTTPRequestDenied, 429: verdict.ConnectionLimitReached, 503: verdict.ConnectionLimitReached,
		502: verdict.DestinationUnavailable, 504: verdict.ConnectionTimeout,
		verdict.StatusClosed: verdict.NotOverHTTP, verdict.StatusLookup: verdict.NotOverHTTP,
	}
	exceptErrors = map[verdict.Reason]verdict.ProxyError{
		verdict.ReasonLoop: verdict.ProxyLoopDetected, verdict.ReasonDraining: verdict.ProxyInternalResponse,
		verdict.ReasonDNSFailed: verdict.DNSError, verdict.ReasonDNSTimeout: verdict.DNSTimeout,
		verdict.ReasonAddressNotAllowed: verdict.DestinationIPProhibited, verdict.ReasonAuditUnavailable: verdict.ProxyInternalError, verdict.ReasonKeysUnavailable: verdict.ProxyInternalError,
		verdict.ReasonOriginFailed: verdict.HTTPProtocolError,
	}
)

// faults are whose fault a status says it is, and exceptFaults where it does not.
var (
	faults = map[verdict.Status]verdict.Fault{
		400: verdict.FaultCaller, 405: verdict.FaultCaller, 501: verdict.FaultCaller, 407: verdict.FaultCaller, 429: verdict.FaultCaller,
		403: verdict.FaultPolicy, 502: verdict.FaultOutside, 504: verdict.FaultOutside, 503: verdict.FaultProxy,
		verdict.StatusClosed: verdict.FaultCaller, verdict.StatusLookup: verdict.FaultPolicy,
	}
	exceptFaults = map[verdict.Reason]verdict.Fault{
		verdict.ReasonLoop:          verdict.FaultCaller, // who sends the request round and round
		verdict.ReasonLimitFunction: verdict.FaultCaller, // who has all it may have
	}
)

// outcomes are what OCSF makes of a fault, and exceptOutcomes where there is more
// to say.
var (
	outcomes = map[verdict.Fault]verdict.Outcome{
		verdict.FaultCaller:  {Disposition: verdict.Rejected, Severity: verdict.Low},
		verdict.FaultPolicy:  {Disposition: verdict.Blocked, Severity: verdict.Medium},
		verdict.FaultOutside: {Disposition: verdict.Failed, Severity: verdict.Low},
		verdict.FaultProxy:   {Disposition: verdict.Rejected, Severity: verdict.Low},
	}
	exceptOutcomes = map[verdict.Reason]verdict.Outcome{
		verdict.ReasonIdentityRequired: {Disposition: verdict.Unauthorized, Severity: verdict.Informational}, // Java and .NET ask so first
		verdict.ReasonIdentityRejected: {Disposition: verdict.Unauthorized, Severity: verdict.Medium},
		verdict.ReasonLimitFailures:    {Disposition: verdict.Unauthorized, Severity: verdict.Medium},
		verdict.ReasonLimitNames:       {Disposition: verdict.Blocked, Severity: verdict.Medium},         // names may carry data
		verdict.ReasonDraining:         {Disposition: verdict.Rejected, Severity: verdict.Informational}, // as every task does at its end
		verdict.ReasonRuleExpired:      {Disposition: verdict.Blocked, Severity: verdict.Low},            // it was allowed yesterday
		verdict.ReasonTypeNotAllowed:   {Disposition: verdict.Blocked, Severity: verdict.Low},            // and so ask ordinary clients
		verdict.ReasonAuditUnavailable: {Disposition: verdict.Failed, Severity: verdict.High},            // nothing passes
		verdict.ReasonKeysUnavailable:  {Disposition: verdict.Failed, Severity: verdict.High},            // nobody who is attested passes
		// A tunnel that was closed before it had begun.
		verdict.ReasonSNIMismatch:  {Disposition: verdict.Blocked, Severity: verdict.Medium},
		verdict.ReasonSNIMissing:   {Disposition: verdict.Blocked, Severity: verdict.Medium},
		verdict.ReasonNotTLS:       {Disposition: verdict.Blocked, Severity: verdict.Medium},
		verdict.ReasonHelloTimeout: {Disposition: verdict.Blocked, Severity: verdict.Low},
	}
)

// The columns of a row say the same thing to different readers: one that was
// changed alone contradicts the others.
func TestTheColumnsOfARowAgree(t *testing.T) {
	for _, r := range verdict.Reasons() {
		row := r.Row()
		if want := except(r, exceptErrors, proxyErrors[row.Status]); row.ProxyStatus != want {
			t.Errorf("%s: ProxyStatus %s with status %s, want %s", r, row.ProxyStatus, row.Status, want)
		}
		if want := except(r, exceptFaults, faults[row.Status]); row.Fault != want {
			t.Errorf("%s: Fault %d with status %s, want %d", r, row.Fault, row.Status, want)
		}
		if want := except(r, exceptOutcomes, outcomes[row.Fault]); row.Outcome != want {
			t.Errorf("%s: Outcome %+v with fault %d, want %+v", r, row.Outcome, row.Fault, want)
		}
		if want := alertOf(r, row); row.Alert != want {
			t.Errorf("%s: Alert %d with status %s, want %d", r, row.Alert, row.Status, want)
		}
		if want := answerOf(r, row); row.DNS != want {
			t.Errorf("%s: DNS %+v with status %s, want %+v", r, row.DNS, row.Status, want)
		}
	}
}

// except returns what a reason has of its own, else what is usual.
func except[T any](r verdict.Reason, own map[verdict.Reason]T, usual T) T {
	if v, ok := own[r]; ok {
		return v
	}
	return usual
}

// alertOf returns the alert that goes with the other columns: access_denied about
// the caller, unrecognized_name about the host, internal_error about the rest.
func alertOf(r verdict.Reason, row verdict.Row) verdict.Alert {
	switch {
	case row.Outcome.Disposition == verdict.Unauthorized:
		return verdict.AlertAccessDenied
	case row.Status == 403, r == verdict.ReasonBadTarget, r == verdict.ReasonSNIMismatch, r == verdict.ReasonSNIMissing:
		return verdict.AlertUnrecognizedName
	default:
		return verdict.AlertInternalError
	}
}

// answerOf returns the DNS answer that goes with the other columns: SERVFAIL where
// the filter or its upstream cannot answer, else a refusal. What lookups cannot
// meet, such as a dial that failed, is a refusal too.
func answerOf(r verdict.Reason, row verdict.Row) verdict.DNSAnswer {
	switch {
	case r == verdict.ReasonBadRequest:
		return verdict.DNSAnswer{RCode: verdict.RCodeFormErr, EDE: verdict.EDEOther}
	case r == verdict.ReasonDNSFailed, r == verdict.ReasonDNSTimeout:
		return verdict.DNSAnswer{RCode: verdict.RCodeServFail, EDE: verdict.EDENoReachableAuthority}
	case row.Fault == verdict.FaultProxy, strings.HasPrefix(row.Word, "limit_"): // which says nothing of the name
		return verdict.DNSAnswer{RCode: verdict.RCodeServFail, EDE: verdict.EDENotReady}
	case r == verdict.ReasonTypeNotAllowed, r == verdict.ReasonAddressNotAllowed:
		return verdict.DNSAnswer{RCode: verdict.RCodeRefuseType, EDE: verdict.EDEFiltered}
	default:
		return verdict.DNSAnswer{RCode: verdict.RCodeRefuseWith, EDE: verdict.EDEFiltered}
	}
}
