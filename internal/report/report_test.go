package report

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

var update = flag.Bool("update", false, "write the golden files anew")

// story is a stream with one of everything.
func story(t testing.TB) []byte {
	s := newStream(t, "20d173ed2881e314")
	s.record(audit.Event{Kind: audit.Started, Policy: s.hash, Functions: 2, Rules: 3, Detail: "listens on 10.0.1.9:3128"})
	// Two repeats of one client and another client: two attempts.
	for _, client := range []string{"10.0.12.5:40001", "10.0.12.5:40002", "10.0.12.6:40001"} {
		e := s.after(3*time.Second).event(audit.Opened, client, "billing", "api.stripe.com")
		c := e
		c.Kind, c.BytesUp, c.BytesDown, c.Duration, c.Ended = audit.Closed, 700, 12_000, time.Second, "client"
		s.record(e, c)
	}
	// One client that asks five times, and once more after a while.
	for i, wait := range []int{1, 2, 2, 2, 2, 11} {
		s.after(time.Duration(wait) * time.Second)
		s.refuse(fmt.Sprintf("10.0.12.5:%d", 41000+i), "billing", "evil.example", verdict.ReasonHostNotAllowed)
	}
	// Opened, then refused: one request.
	e := s.event(audit.Opened, "10.0.12.5:42000", "billing", "api.stripe.com")
	r := e
	r.Kind, r.Verdict, r.Reason, r.SNI = audit.Refused, verdict.Deny, verdict.ReasonSNIMismatch, "evil.example"
	s.record(e, r)
	// Report mode, for what no rule has and for a hello that does not fit.
	e = s.after(time.Hour).event(audit.Opened, "10.0.40.1:40000", "nightly", "pypi.org")
	e.Verdict, e.Reason = verdict.Report, verdict.ReasonHostNotAllowed
	s.record(e)
	e = s.event(audit.Opened, "10.0.40.1:40001", "nightly", "data.example.net")
	r = e
	r.Verdict, r.Reason, r.SNI = verdict.Report, verdict.ReasonSNIMismatch, "other.example.net"
	s.record(e, r)
	// Callers that are nobody.
	e = s.event(audit.Challenged, "10.0.9.9:1000", "", "api.stripe.com")
	e.Reason = verdict.ReasonIdentityRequired
	s.record(e)
	s.refuse("10.0.9.9:1001", "", "api.stripe.com", verdict.ReasonIdentityRejected)
	e = s.event(audit.Refused, "10.0.9.9:1002", "", "")
	e.Reason, e.Suppressed = verdict.ReasonLimitFailures, 40
	s.record(e)
	// Questions of the DNS filter.
	for _, host := range []string{"data.evil.example", "api.stripe.com"} {
		e = s.event(audit.Answered, "10.0.12.5:5353", "billing", host)
		e.Protocol, e.Method, e.Port, e.QType, e.Via = "dns", "", 0, "A", "source"
		s.record(e)
	}
	s.refuse("10.0.12.5:43000", "billing", "<script>alert(1)</script>|=1+1", verdict.ReasonBadTarget)
	s.record(audit.Event{Kind: audit.ReloadFailed, Policy: s.hash, Detail: "egress.yaml:1: version: wrong\negress.yaml:2: more"})
	s.record(audit.Event{Kind: audit.Reloaded, Policy: "ece03fca87c8", Functions: 2, Rules: 4, Was: "0cef9cd995fc", Gained: 1, Lost: 2, Changes: []audit.Change{{Function: "billing", Gained: 1, Lost: 2}}, Detail: "was 0cef9cd995fc; 1 functions differ, by 1 rules gained and 2 lost; of the deny list 0 gained and 0 lost"})
	s.hash = "ece03fca87c8"
	return s.end()
}

// policyOfStory is the policy file that belongs to it.
func policyOfStory() *Policy {
	rule := func(function string, i, line int, pattern string) Rule {
		return Rule{Function: function, Path: fmt.Sprintf("functions.%s.allow[%d]", function, i), Line: line, Pattern: pattern}
	}
	p := &Policy{File: "egress.yaml", Hash: "0cef9cd995fc", Rules: []Rule{
		rule("billing", 0, 8, "api.stripe.com 443"), rule("billing", 1, 9, "*.example.org 443"), rule("nightly", 0, 12, "data.example.net 443"),
	}}
	p.Rules[1].Expires, p.Rules[1].Ticket, p.Rules[1].Owner = began.AddDate(0, 2, 0).Truncate(24*time.Hour), "SEC-7", "payments"
	p.Rules[1].File = "teams/payments.yaml"
	return p
}

func TestTheSameRecordsGiveTheSameBytesInEveryFormat(t *testing.T) {
	t.Parallel()
	o := Options{Generated: began.Add(48 * time.Hour), Sources: []string{"records.jsonl"}, Policy: policyOfStory(), Ready: func() Readiness {
		return Readiness{Functions: []ReadyFunction{
			{Name: "billing", Owner: "payments", Days: 9, Runs: 12, NewName: "api.stripe.com", Since: began},
			{Name: "nightly", Because: []string{"it was never seen", "2 hosts that it used have no rule yet"}},
		}}
	}}
	for name, f := range map[string]Format{"story.md": Markdown, "story.csv": CSV, "story.html": HTML} {
		got := reportOf(t, o, story(t)).written(t, f)
		if again := reportOf(t, o, story(t)).written(t, f); again != got {
			t.Errorf("%s: a second report of the same records differs", name)
		}
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s is not what the report is now (-update writes it anew):\n%s", name, got)
		}
	}
}

func TestRepeatsOfOneClientWithinTenSecondsAreOneAttempt(t *testing.T) {
	t.Parallel()
	got := reportOf(t, Options{}, story(t)).written(t, CSV)
	has(t, pick(t, rowsOf(t, got, "refused"), "host", "evil.example"), "attempts", "2", "requests", "6")
	// Another client is another attempt. The fourth request is that which was
	// refused after opening.
	has(t, pick(t, rowsOf(t, got, "allowed"), "host", "api.stripe.com"), "attempts", "3", "requests", "4", "bytes_up", "2100", "bytes_down", "36000",
		"rule", "functions.billing.allow[0]", "line", "8", "ticket", "SEC-1")
}

func TestWhatTellsAttemptsApart(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(s *stream, e *audit.Event){
		"another source":       func(_ *stream, e *audit.Event) { e.Client = netip.MustParseAddrPort("10.0.12.6:1") },
		"another function":     func(_ *stream, e *audit.Event) { e.Function = "nightly" },
		"another protocol":     func(_ *stream, e *audit.Event) { e.Protocol = "http" },
		"another method":       func(_ *stream, e *audit.Event) { e.Method = "GET" },
		"another host":         func(_ *stream, e *audit.Event) { e.Host = "b.example" },
		"another port":         func(_ *stream, e *audit.Event) { e.Port = 80 },
		"another reason":       func(_ *stream, e *audit.Event) { e.Reason = verdict.ReasonPortNotAllowed },
		"another verdict":      func(_ *stream, e *audit.Event) { e.Kind, e.Verdict = audit.Opened, verdict.Report },
		"more than 10 s later": func(s *stream, _ *audit.Event) { s.after(10*time.Second + 1) },
	} {
		s := newStream(t, "b")
		e := s.event(audit.Refused, "10.0.12.5:1", "billing", "a.example")
		s.record(e)
		change(s, &e)
		e.ID = s.log.NextID()
		s.record(e)
		if got := attemptsOf(t, s.end()); got != 2 {
			t.Errorf("%s: %d attempts, want 2", name, got)
		}
	}
	s := newStream(t, "b")
	s.refuse("10.0.12.5:1", "billing", "a.example", verdict.ReasonHostNotAllowed)
	for range 5 { // each within ten seconds of the one before
		s.after(10 * time.Second)
		s.refuse("10.0.12.5:2", "billing", "a.example", verdict.ReasonHostNotAllowed)
	}
	if got := attemptsOf(t, s.end()); got != 1 {
		t.Errorf("another port of the same client, each time within ten seconds: %d attempts, want 1", got)
	}
	s = newStream(t, "b")
	s.refuse("10.0.12.5:1", "", "a.example", verdict.ReasonIdentityRejected)
	s.refuse("10.0.12.5:1", "", "b.example", verdict.ReasonIdentityRejected)
	if got := attemptsOf(t, s.end()); got != 2 {
		t.Errorf("another host of a caller that is nobody: %d attempts, want 2", got)
	}
}

// attemptsOf sums the attempts of a report.
func attemptsOf(t testing.TB, stream []byte) (n int) {
	t.Helper()
	got := reportOf(t, Options{}, stream).written(t, CSV)
	for _, section := range []string{"allowed", "refused", "reported", "unidentified", "dns"} {
		for _, row := range rowsOf(t, got, section) {
			n += atoi(t, row["attempts"])
		}
	}
	return n
}

func TestOpenedThenRefusedIsOneRequest(t *testing.T) {
	t.Parallel()
	r := reportOf(t, Options{}, story(t))
	got := r.written(t, CSV)
	has(t, pick(t, rowsOf(t, got, "refused"), "reason", "sni_mismatch"), "requests", "1", "after_opening", "1")
	has(t, pick(t, rowsOf(t, got, "reported"), "reason", "sni_mismatch"), "requests", "1", "after_opening", "1")
	// opened 3+1+1+2, refused 6+1+1+41+1, challenged 1, answered 2; less two.
	if got, want := requests(t, r), 7+50+1+2-2; got != want {
		t.Errorf("%d requests, want %d", got, want)
	}
	// Opened before the period and refused within: here it is one refusal.
	s := newStream(t, "b")
	e := s.event(audit.Opened, "10.0.12.5:1", "billing", "api.stripe.com")
	s.record(e)
	from := s.after(time.Second).now
	e.Kind, e.Verdict, e.Reason = audit.Refused, verdict.Deny, verdict.ReasonNotTLS
	s.record(e)
	r = reportOf(t, Options{From: from}, s.end())
	if got := requests(t, r); got != 1 {
		t.Errorf("%d requests, want 1", got)
	}
}

func TestTheTablesAddUpToTheTotalsOfTheRecords(t *testing.T) {
	t.Parallel()
	stream := story(t)
	r := reportOf(t, Options{}, stream)
	got, want := sumsOf(t, r), lastTotals(t, stream)
	for event, what := range summed {
		if got[what] != want[event] || want[event] == 0 {
			t.Errorf("%s: the report has %d, the last record %d", event, got[what], want[event])
		}
	}
	addUp(t, r)
}

// addUp checks that the rows of the tables are all requests.
func addUp(t testing.TB, r *Report) {
	t.Helper()
	got, sums, sum, want := r.written(t, CSV), sumsOf(t, r), 0, 0
	for _, section := range []string{"allowed", "refused", "reported", "unidentified", "dns"} {
		for _, row := range rowsOf(t, got, section) {
			sum += atoi(t, row["requests"])
		}
	}
	for _, what := range summed {
		want += sums[what]
	}
	if sum != want || want == 0 {
		t.Errorf("the tables have %d requests, want %d", sum, want)
	}
}

// lastTotals returns the totals of the last record by event.
func lastTotals(t testing.TB, stream []byte) map[string]int {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(string(stream)), "\n")
	last, err := evidence.Parse([]byte(lines[len(lines)-1]))
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]int{}
	for event, reasons := range last.Totals {
		for _, n := range reasons {
			sums[event] += int(n)
		}
	}
	return sums
}

func TestOnlyThePeriodIsCounted(t *testing.T) {
	t.Parallel()
	stream := story(t)
	all := requests(t, reportOf(t, Options{}, stream))
	noon := began.Add(30 * time.Minute)
	before, behind := reportOf(t, Options{To: noon}, stream), reportOf(t, Options{From: noon}, stream)
	if x, y := requests(t, before), requests(t, behind); x == 0 || y == 0 || x+y != all {
		t.Errorf("%d and %d requests of %d", x, y, all)
	}
	if !before.Whole || !behind.Whole {
		t.Error("the verification is about all that was read, and finds the records not whole")
	}
	edge := reportOf(t, Options{From: began.Add(3 * time.Second), To: began.Add(6 * time.Second)}, stream)
	if got := requests(t, edge); got != 1 {
		t.Errorf("%d requests from the third second to before the sixth, want 1", got)
	}
}

func TestRulesThatLetNothingThroughAreListed(t *testing.T) {
	t.Parallel()
	stream := story(t)
	rules := func(p *Policy) (all []string) {
		for _, row := range rowsOf(t, reportOf(t, Options{Policy: p}, stream).written(t, CSV), "unused") {
			all = append(all, row["rule"])
		}
		return all
	}
	if got, want := rules(policyOfStory()), []string{"functions.billing.allow[1]"}; !slices.Equal(got, want) {
		t.Errorf("unused: %v, want %v", got, want)
	}
	// Under another policy the same place may be another rule.
	other := policyOfStory()
	other.Hash = "ece03fca87c8"
	if got := rules(other); len(got) != 3 {
		t.Errorf("unused under a policy that decided nothing: %v, want all", got)
	}
	row := pick(t, rowsOf(t, reportOf(t, Options{Policy: other}, stream).written(t, CSV), "unused"), "line", "8")
	has(t, row, "elsewhere", "5")
	if text := reportOf(t, Options{}, stream).written(t, Markdown); !strings.Contains(text, "Not looked for: no policy file was given") {
		t.Error("without a policy file the report does not say that it did not look")
	}
}

func TestWhoMayBeEnforcedIsSaidOrWhyItIsNotKnown(t *testing.T) {
	t.Parallel()
	for want, ready := range map[string]func() Readiness{
		"Not looked for: no policy file was given (--config).": nil,
		"No function of the policy is in report mode.":         func() Readiness { return Readiness{} },
		"It cannot be known, for what stands below.":           func() Readiness { return Readiness{Unknown: "the records are not as they were written"} },
		"not yet": func() Readiness {
			return Readiness{Functions: []ReadyFunction{{Name: "f", Because: []string{"it was never seen"}}}}
		},
	} {
		got := reportOf(t, Options{Ready: ready}, story(t)).written(t, Markdown)
		_, got, _ = strings.Cut(got, "## Ready to enforce?\n")
		if got, _, _ = strings.Cut(got, "\n## "); !strings.Contains(got, want) {
			t.Errorf("want %q:\n%s", want, got)
		}
	}
}

func TestRecordsThatAreNotWholeAreSaidToBeSo(t *testing.T) {
	t.Parallel()
	lines := strings.SplitAfter(string(story(t)), "\n")
	r := reportOf(t, Options{}, []byte(strings.Join(slices.Delete(lines, 3, 4), "")))
	if r.Whole {
		t.Fatal("a record is missing, and the report calls the records whole")
	}
	for _, f := range []Format{Markdown, CSV, HTML} {
		if !strings.Contains(r.written(t, f), "NOT whole") {
			t.Errorf("format %d does not say that the records are not whole", f)
		}
	}
	if len(rowsOf(t, r.written(t, CSV), "findings")) == 0 {
		t.Error("no finding is listed")
	}
}

func TestHostsThatAreMadeUpAreSummedUp(t *testing.T) {
	t.Parallel()
	const hosts, rows = 1_000, 100
	s := newStream(t, "b")
	for i := range 2 * hosts {
		s.refuse("10.0.12.5:1", "billing", fmt.Sprintf("h%d.evil.example", i%hosts), verdict.ReasonHostNotAllowed)
	}
	e := s.event(audit.Refused, "10.0.12.5:1", "billing", "last.evil.example")
	e.Verdict, e.Suppressed = verdict.Deny, 49
	s.record(e)
	b := New(Options{MaxRows: rows})
	feed(b, "records.jsonl", s.end())
	r := b.Report()
	addUp(t, r)
	row := pick(t, rowsOf(t, r.written(t, CSV), "refused"), "host", "and 901 more")
	has(t, row, "requests", strconv.Itoa(2*(hosts-rows)+50), "attempts", "")
	if got := requests(t, r); got != 2*hosts+50 {
		t.Errorf("%d requests, want %d", got, 2*hosts+50)
	}
}

func TestPeopleAreShownTheFirstRowsAndTheSumOfTheOthers(t *testing.T) {
	t.Parallel()
	const hosts, rows = 1_300, 1_200
	b := New(Options{MaxRows: rows})
	for i := range hosts {
		r := evidence.Record{Time: began, Event: eventRefused, Function: "f", Host: fmt.Sprintf("h%04d", i), Reason: "host_not_allowed"}
		b.counts.Add("records.jsonl", &r, nil)
	}
	r := b.Report()
	for _, f := range []Format{Markdown, HTML} {
		got := r.written(t, f)
		for what, want := range map[string]bool{"h0999": true, "h1000": false, "and 100 more": true, "Left out here are 200 more rows with 200 requests. The CSV has them.": true} {
			if strings.Contains(got, what) != want {
				t.Errorf("format %d: that it has %q is %v, want %v", f, what, !want, want)
			}
		}
	}
	if n := len(rowsOf(t, r.written(t, CSV), "refused")); n != rows+1 {
		t.Errorf("the CSV has %d rows, want %d", n, rows+1)
	}
}

func TestFunctionsBeyondTheBoundAreOneFunction(t *testing.T) {
	t.Parallel()
	const bound = 10_000
	b := New(Options{})
	for i := range bound + 20 {
		r := evidence.Record{Time: began, Event: eventRefused, Function: fmt.Sprintf("f%d", i), Host: "evil.example", Reason: "host_not_allowed"}
		b.counts.Add("records.jsonl", &r, nil)
	}
	r := b.Report()
	addUp(t, r)
	has(t, pick(t, rowsOf(t, r.written(t, CSV), "functions"), "function", "(more functions)"), "refused", "20")
}
