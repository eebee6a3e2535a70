package ocsf_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/ocsf"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

var update = flag.Bool("update", false, "write the golden files anew")

// records returns the lines that a log writes for the events.
func records(t testing.TB, events ...audit.Event) []string {
	t.Helper()
	var out bytes.Buffer
	log := audit.New(&out, audit.Options{
		Process: "b00700000000beef", Version: "v1.2.3",
		Now: func() time.Time { return time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC) },
	})
	for i := range events {
		if err := log.Record(&events[i]); err != nil {
			t.Fatal(err)
		}
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

// export returns what becomes of the lines.
func export(t testing.TB, lines ...string) ([]string, ocsf.Counts) {
	t.Helper()
	var out bytes.Buffer
	e := ocsf.New(&out)
	for _, line := range lines {
		if err := e.Add([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	if out.Len() == 0 {
		return nil, e.Counts()
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n"), e.Counts()
}

// one returns the event of one record.
func one(t testing.TB, e audit.Event) map[string]any {
	t.Helper()
	events, _ := export(t, records(t, e)...)
	if len(events) != 1 {
		t.Fatalf("%d events, want 1", len(events))
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(events[0]), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// at returns the value under a dotted path, nil where there is none.
func at(m map[string]any, path string) any {
	var v any = m
	for key := range strings.SplitSeq(path, ".") {
		o, _ := v.(map[string]any)
		v = o[key]
	}
	return v
}

// full returns a request with every field.
func full(kind audit.Kind, protocol string) audit.Event {
	e := audit.Event{
		Kind: kind, Policy: "0123456789ab", ID: 0xbeef, Protocol: protocol, Client: netip.MustParseAddrPort("10.0.12.7:40123"),
		Function: "billing-webhook", Owner: "payments-team", Via: "token", Method: "CONNECT", Host: "api.stripe.com", Port: 443,
		Verdict: verdict.Allow, Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8::7")},
		Dialed: netip.MustParseAddrPort("203.0.113.7:443"), SNI: "api.stripe.com", HasSNI: true,
		BytesUp: 1234, BytesDown: 56789, Duration: 61004567 * time.Microsecond, Ended: "client", QType: "A",
	}
	switch protocol {
	case "http":
		e.Method, e.Port = "GET", 80
	case "dns":
		e.Method, e.Port, e.SNI, e.HasSNI, e.Dialed = "", 0, "", false, netip.AddrPort{}
	}
	return e
}

// everyEvent returns events of every kind, and requests of every protocol,
// verdict, reason and method, with every field and with none.
func everyEvent() (all []audit.Event) {
	for kind := audit.Started; kind < audit.Stopped; kind++ {
		all = append(all, audit.Event{Kind: kind}, full(kind, ""))
		if kind < audit.Challenged || kind > audit.Answered {
			continue // no request
		}
		for _, protocol := range []string{"connect", "http", "dns"} {
			all = append(all, audit.Event{Kind: kind, Protocol: protocol, Suppressed: 3}, full(kind, protocol))
			for _, reason := range verdict.Reasons() {
				for _, verdict := range []verdict.Verdict{verdict.Deny, verdict.Report} {
					e := full(kind, protocol)
					e.Verdict, e.Reason = verdict, reason
					all = append(all, e, audit.Event{Kind: kind, Protocol: protocol, Verdict: verdict, Reason: reason})
				}
			}
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", ""} {
				e := full(kind, protocol)
				e.Method = method
				all = append(all, e)
			}
			for _, ended := range []string{"client", "origin", "idle", "lifetime", "revoked", "shutdown", "error"} {
				e := full(kind, protocol)
				e.Ended = ended
				all = append(all, e)
			}
			for _, host := range []string{"127.0.0.1", "::1", "évil", "\x1b[2J\u2028\x00\"}{<script>", strings.Repeat("a", 300)} {
				e := full(kind, protocol)
				e.Host, e.Client, e.Function = host, netip.AddrPort{}, ""
				all = append(all, e)
			}
		}
	}
	return append(all, full(audit.Stopped, "")) // behind which there is none
}

func TestEveryEventFitsTheSchemaAndHasItsEndpoints(t *testing.T) {
	s := loadSchema(t)
	lines := records(t, everyEvent()...)
	events, counts := export(t, lines...)
	if uint64(len(events)) != counts.HTTP+counts.DNS || counts.HTTP < 500 || counts.DNS < 100 {
		t.Errorf("%d events, counted %+v", len(events), counts)
	}
	if counts.Records() != uint64(len(lines)) || counts.Partial+counts.OtherJSON != 0 {
		t.Errorf("%d records, counted %+v", len(lines), counts)
	}
	told := map[string]bool{}
	for _, event := range events {
		for _, wrong := range s.check([]byte(event)) {
			if !told[wrong] {
				t.Errorf("%s\nin %s", wrong, event)
			}
			told[wrong] = true
		}
		must := []string{`"src_endpoint":{`, `"dst_endpoint":{`}
		if strings.Contains(event, `"class_uid":4002,`) {
			must = append(must, `"http_request":{`, `"http_response":{`)
		}
		for _, key := range must {
			if !strings.Contains(event, key) {
				t.Errorf("no %s in %s", key, event)
			}
		}
	}
}

// The check that the test above relies on finds what it is for.
func TestWhatDoesNotFitTheSchemaIsFound(t *testing.T) {
	s := loadSchema(t)
	events, _ := export(t, records(t, full(audit.Closed, "connect"), full(audit.Answered, "dns"))...)
	for _, row := range []struct{ event, old, new, want string }{
		{events[0], `"severity_id":1,`, ``, "severity_id is required"},
		{events[0], `"product":{`, `"products":{`, "metadata.product is required"},
		{events[0], `"code":200,`, ``, "http_response.code is required"},
		{events[0], `"direction_id":2,`, ``, "connection_info.direction_id is required"},
		{events[0], `"severity_id":1,`, `"severity_id":7,`, "severity_id: 7 is not in the enumeration"},
		{events[0], `"action_id":1,`, `"action_id":2,`, "the caption of 2 is Denied"},
		{events[0], `"http_method":"CONNECT"`, `"http_method":"FOO"`, "http_request.http_method: FOO is not in the enumeration"},
		{events[0], `"ip":"10.0.12.7"`, `"ip":"10.0.12"`, "src_endpoint.ip: 10.0.12 is no ip_t"},
		{events[0], `"port":443`, `"port":65536`, "is no port_t"},
		{events[0], `"time":17`, `"time":"17"+`, "invalid character"},
		{events[0], `"bytes_in":56789`, `"bytes_in":"56789"`, "traffic.bytes_in: 56789 is no long_t"},
		{events[0], `"type_uid":400201`, `"type_uid":400301`, "type_uid 400301"},
		{events[0], `"network_proxy",`, ``, "proxy_endpoint is of the profile network_proxy"},
		{events[0], `"url_string":"api.stripe.com:443",`, ``, "http_request.url.none of [url_string path] is there"},
		{events[0], `"app_name"`, `"app"`, "app is not in the copy"},
		{events[0], `"version":"1.6.0"`, `"version":"1.5.0"`, "metadata.version 1.5.0"},
		{events[1], `"rdata":"203.0.113.7",`, ``, "answers.rdata is required"},
		{events[1], `"dst_endpoint":{"name":"egress"}`, `"dst_endpoint":{}`, "dst_endpoint.none of"},
	} {
		broken := strings.Replace(row.event, row.old, row.new, 1)
		if broken == row.event {
			t.Errorf("%s is not in %s", row.old, row.event)
		}
		if found := strings.Join(s.check([]byte(broken)), "\n"); !strings.Contains(found, row.want) {
			t.Errorf("%s for %s: found %q, want %q", row.new, row.old, found, row.want)
		}
	}
}

func TestEventsReadAsWritten(t *testing.T) {
	refused := full(audit.Refused, "connect")
	refused.Verdict, refused.Reason, refused.Addresses, refused.Dialed = verdict.Deny, verdict.ReasonHostNotAllowed, nil, netip.AddrPort{}
	refused.SNI, refused.HasSNI, refused.Suppressed = "", false, 41
	lookup := full(audit.Answered, "dns")
	lookup.Verdict, lookup.Reason, lookup.Addresses = verdict.Deny, verdict.ReasonHostDenied, nil
	events, _ := export(t, records(t, refused, full(audit.Closed, "connect"), lookup, full(audit.Answered, "dns"))...)
	var got bytes.Buffer
	for _, event := range events {
		if err := json.Indent(&got, []byte(event), "", " "); err != nil {
			t.Fatal(err)
		}
		got.WriteByte('\n')
	}
	golden := filepath.Join("testdata", "events.golden")
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("the events are\n%s", got.Bytes())
	}
}

func TestWhatBecameOfARequestIsToldInOneVocabulary(t *testing.T) {
	with := func(kind audit.Kind, protocol string, v verdict.Verdict, r verdict.Reason, ended string) audit.Event {
		e := full(kind, protocol)
		e.Verdict, e.Reason, e.Ended = v, r, ended
		return e
	}
	for _, row := range []struct {
		event                                         audit.Event
		action, disposition, severity, status, answer string
		code                                          any
	}{
		{with(audit.Opened, "connect", verdict.Allow, 0, ""), "Allowed", "Allowed", "Informational", "Success", "OK", 200.0},
		{with(audit.Opened, "http", verdict.Allow, 0, ""), "Allowed", "Allowed", "Informational", "Success", "Unknown", 0.0},
		{with(audit.Opened, "connect", verdict.Report, verdict.ReasonHostNotAllowed, ""), "Allowed", "Detected", "Low", "Success", "OK", 200.0},
		{with(audit.Closed, "connect", verdict.Allow, 0, "idle"), "Allowed", "Allowed", "Informational", "Success", "OK", 200.0},
		{with(audit.Closed, "connect", verdict.Allow, 0, "error"), "Allowed", "Allowed", "Informational", "Failure", "OK", 200.0},
		{with(audit.Closed, "connect", verdict.Allow, 0, "revoked"), "Denied", "Access Revoked", "Low", "Failure", "OK", 200.0},
		{with(audit.Challenged, "connect", verdict.Deny, verdict.ReasonIdentityRequired, ""), "Denied", "Unauthorized", "Informational", "Failure", "Proxy Authentication Required", 407.0},
		{with(audit.Refused, "http", verdict.Deny, verdict.ReasonHostDenied, ""), "Denied", "Blocked", "Medium", "Failure", "Forbidden", 403.0},
		{with(audit.Refused, "connect", verdict.Deny, verdict.ReasonDialTimeout, ""), "Denied", "Error", "Low", "Failure", "Gateway Timeout", 504.0},
		{with(audit.Refused, "connect", verdict.Deny, verdict.ReasonSNIMismatch, ""), "Denied", "Blocked", "Medium", "Failure", "OK", 200.0},
		{with(audit.Refused, "connect", verdict.Deny, verdict.ReasonLimitTotal, ""), "Denied", "Rejected", "Low", "Failure", "Service Unavailable", 503.0},
		{with(audit.Refused, "connect", verdict.Deny, 0, ""), "Denied", "Blocked", "Low", "Failure", "Unknown", 0.0},
		{with(audit.Answered, "dns", verdict.Report, verdict.ReasonHostNotAllowed, ""), "Allowed", "Detected", "Low", "Success", "", nil},
	} {
		got := one(t, row.event)
		for path, want := range map[string]any{
			"action": row.action, "disposition": row.disposition, "severity": row.severity, "status": row.status,
			"http_response.code": row.code, "status_code": nonEmpty(row.event.Reason.String()),
		} {
			if at(got, path) != want {
				t.Errorf("%s %s %s: %s is %v, want %v", row.event.Kind, row.event.Reason, row.event.Ended, path, at(got, path), want)
			}
		}
		if s, _ := at(got, "http_response.status").(string); s != row.answer {
			t.Errorf("%s %s: the response is %q, want %q", row.event.Kind, row.event.Reason, s, row.answer)
		}
	}
}

// nonEmpty returns nil for "": the member is left out.
func nonEmpty(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func TestEveryReasonHasTheOutcomeOfItsRow(t *testing.T) {
	dispositions := map[verdict.Disposition]string{verdict.Blocked: "Blocked", verdict.Rejected: "Rejected", verdict.Unauthorized: "Unauthorized", verdict.Failed: "Error"}
	severities := map[verdict.Severity]string{verdict.Informational: "Informational", verdict.Low: "Low", verdict.Medium: "Medium", verdict.High: "High"}
	for _, reason := range verdict.Reasons() {
		row := reason.Row()
		var code any
		for _, protocol := range []string{"connect", "http", "dns"} {
			switch {
			case protocol == "connect" && (row.Status.String() == "closed" || reason == verdict.ReasonNotTLS):
				code = 200.0 // of the CONNECT: the tunnel was open
			case row.Status.String() == "closed":
				continue // by CONNECT alone
			case row.Status.String() == "dns":
				code = 0.0
			default:
				code = float64(row.Status)
			}
			want := map[string]any{
				"action": "Denied", "status": "Failure", "status_code": reason.String(),
				"disposition": dispositions[row.Outcome.Disposition], "severity": severities[row.Outcome.Severity],
			}
			if protocol != "dns" {
				want["http_response.code"] = code
			} else if want["rcode"] = nil; row.DNS.RCode == verdict.RCodeServFail {
				want["rcode"] = "ServError"
			}
			e := full(audit.Refused, protocol)
			e.Verdict, e.Reason = verdict.Deny, reason
			got := one(t, e)
			for path, want := range want {
				if at(got, path) != want {
					t.Errorf("%s by %s: %s is %v, want %v", reason, protocol, path, at(got, path), want)
				}
			}
		}
	}
}

func TestActivityIsThatOfTheMethod(t *testing.T) {
	for method, want := range map[string]string{
		"CONNECT": "400201 Connect", "DELETE": "400202 Delete", "GET": "400203 Get", "HEAD": "400204 Head", "OPTIONS": "400205 Options",
		"POST": "400206 Post", "PUT": "400207 Put", "TRACE": "400208 Trace", "PATCH": "400209 Patch", "PROPFIND": "400299 Other", "": "400200 Unknown",
	} {
		e := full(audit.Refused, "http")
		e.Method = method
		got := one(t, e)
		if have := fmt.Sprintf("%.0f %v", at(got, "type_uid"), at(got, "activity_name")); have != want {
			t.Errorf("%q is %s, want %s", method, have, want)
		}
		if m := at(got, "http_request.http_method"); (m == nil) != (strings.HasPrefix(want, "400299") || method == "") {
			t.Errorf("%q: http_method %v", method, m)
		}
		if method == "PROPFIND" && at(got, "unmapped.method") != method {
			t.Errorf("the method is lost: %v", got["unmapped"])
		}
	}
}

func TestLookupThatIsRefusedIsAQueryAndOneThatIsAnsweredAResponse(t *testing.T) {
	answered := one(t, full(audit.Answered, "dns"))
	for path, want := range map[string]any{
		"activity_name": "Response", "query.hostname": "api.stripe.com", "query.type": "A", "rcode": "NoError", "unmapped.addresses": nil,
		"dst_endpoint.name": "egress", "src_endpoint.ip": "10.0.12.7",
	} {
		if at(answered, path) != want {
			t.Errorf("answered: %s is %v, want %v", path, at(answered, path), want)
		}
	}
	if got := fmt.Sprint(answered["answers"]); got != "[map[rdata:203.0.113.7 type:A] map[rdata:2001:db8::7 type:AAAA]]" {
		t.Errorf("answers %s", got)
	}
	e := full(audit.Answered, "dns")
	e.Verdict, e.Reason = verdict.Deny, verdict.ReasonAddressNotAllowed
	refused := one(t, e)
	if refused["activity_name"] != "Query" || refused["answers"] != nil || refused["rcode_id"] != nil || len(at(refused, "unmapped.addresses").([]any)) != 2 {
		t.Errorf("refused: %v", refused)
	}
	e.Reason = verdict.ReasonDNSTimeout
	if got := one(t, e); got["rcode"] != "ServError" {
		t.Errorf("a lookup that failed: rcode %v", got["rcode"])
	}
}

func TestSummaryCountsAllThatItStandsFor(t *testing.T) {
	e := full(audit.Refused, "connect")
	e.Verdict, e.Reason, e.Suppressed = verdict.Deny, verdict.ReasonLimitFailures, 999
	if got := one(t, e); got["count"] != 1000.0 || at(got, "unmapped.suppressed") != 999.0 {
		t.Errorf("count %v, suppressed %v", got["count"], at(got, "unmapped.suppressed"))
	}
}

// The event names the record so that it can be found and checked in the chain.
func TestEventLeadsBackToItsRecord(t *testing.T) {
	lines := records(t, full(audit.Opened, "connect"), full(audit.Closed, "connect"))
	events, _ := export(t, lines...)
	var first, second map[string]any
	_ = json.Unmarshal([]byte(events[0]), &first)
	_ = json.Unmarshal([]byte(events[1]), &second)
	sum := sha256.Sum256([]byte(lines[0]))
	if got := at(first, "raw_data_hash.value"); got != hex.EncodeToString(sum[:]) || got != at(second, "unmapped.prev") {
		t.Errorf("raw_data_hash %v, the next record's prev %v", got, at(second, "unmapped.prev"))
	}
	if at(first, "metadata.uid") != "b00700000000beef:1" || at(second, "metadata.sequence") != 2.0 || at(first, "metadata.original_time") != "2026-03-04T05:06:07.000000089Z" {
		t.Errorf("metadata %v, %v", first["metadata"], second["metadata"])
	}
	if at(first, "metadata.correlation_uid") != "b00700000000beef-beef" || at(second, "metadata.correlation_uid") != at(first, "metadata.correlation_uid") {
		t.Errorf("correlation_uid %v, %v", at(first, "metadata.correlation_uid"), at(second, "metadata.correlation_uid"))
	}
	if second["time"].(float64)-second["start_time"].(float64) != 61004 || second["duration"] != 61004.0 {
		t.Errorf("time %v, start_time %v, duration %v", second["time"], second["start_time"], second["duration"])
	}
}

func TestRecordsThatAreAboutNoRequestAreCountedAndNotExported(t *testing.T) {
	lines := records(t, audit.Event{Kind: audit.Started}, audit.Event{Kind: audit.Reloaded}, audit.Event{Kind: audit.ReloadFailed},
		audit.Event{Kind: audit.Heartbeat}, audit.Event{Kind: audit.Heartbeat}, audit.Event{Kind: audit.Stopped})
	lines = append(lines, `{"_aws":{},"Decisions":1}`, `{"time":"2026-03-04T05:06:07Z","eve`,
		strings.Replace(lines[0], `"started"`, `"made up"`, 1), strings.Replace(lines[0], `"started"`, `"made up too"`, 1))
	events, counts := export(t, lines...)
	want := ocsf.Counts{Skipped: map[string]uint64{"started": 1, "reloaded": 1, "reload_failed": 1, "heartbeat": 2, "stopped": 1, "other": 2}, OtherJSON: 1, Partial: 1}
	if len(events) != 0 || !reflect.DeepEqual(counts, want) || counts.Records() != 8 {
		t.Errorf("%d events, counted %+v, want %+v", len(events), counts, want)
	}
}
