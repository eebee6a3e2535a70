package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// at is the instant of records whose text is compared.
var at = time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC)

// request is an event with every field of a request set.
func request(tb testing.TB) *Event {
	tb.Helper()
	name, err := hostname.ParseName("api.stripe.com")
	if err != nil {
		tb.Fatal(err)
	}
	pattern, err := hostname.ParsePattern("api.stripe.com")
	if err != nil {
		tb.Fatal(err)
	}
	p, err := policy.Compile(policy.Spec{Functions: []policy.FunctionSpec{{
		Name:  "billing-webhook",
		Rules: []policy.RuleSpec{{Line: 41, Pattern: pattern, Conditions: &policy.Conditions{Ports: hostname.Ports(443), Ticket: "SEC-1234"}}},
	}}})
	if err != nil {
		tb.Fatal(err)
	}
	d := p.Decide(p.Function("billing-webhook"), hostname.Target{Host: hostname.NameHost(name), Port: 443}, at)
	return &Event{
		Kind: Closed, Policy: "0123456789ab", ID: 0xbeef, Protocol: "connect",
		Client:   netip.MustParseAddrPort("[::ffff:10.0.12.7]:40123"),
		Function: "billing-webhook", Owner: "payments-team", Via: "token", Method: "CONNECT",
		Host: "api.stripe.com", Port: 443, Verdict: d.Verdict, Reason: d.Reason, Rule: d.Rule,
		Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8::7")},
		Dialed:    netip.MustParseAddrPort("203.0.113.7:443"), SNI: "api.stripe.com", HasSNI: true,
		BytesUp: 1234, BytesDown: 56789, Duration: 61*time.Second + 4567*time.Microsecond, Ended: "client",
	}
}

// encode returns the line of e as the first of process "b".
func encode(e *Event) []byte {
	enc := NewEncoder("b", "v1")
	return enc.AppendLine(nil, e, &Place{Now: at, Seq: 1, Prev: sha256.Sum256([]byte("b"))}, NewTally())
}

// head is what every line of encode begins with; the hash is that of "b".
const head = `{"time":"2026-03-04T05:06:07.000000089Z","event":"%s","boot":"b","seq":1,` +
	`"prev":"3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d","policy":%s,"version":"v1"`

func TestLinesReadAsWritten(t *testing.T) {
	full := request(t)
	const absent = `,"protocol":null,"id":null,"client":null,"function":null,"owner":null,"via":null,"method":null,"host":null,` +
		`"port":null,"verdict":"deny","reason":null,"rule":null,"line":null,"ticket":null,"addresses":null,"dialed":null,"sni":null`
	const present = `,"protocol":"connect","id":"b-beef","client":"10.0.12.7:40123","function":"billing-webhook","owner":"payments-team",` +
		`"via":"token","method":"CONNECT","host":"api.stripe.com","port":443,"verdict":"allow","reason":null,` +
		`"rule":"functions.billing-webhook.allow[0]","line":41,"ticket":"SEC-1234","addresses":["203.0.113.7","2001:db8::7"],` +
		`"dialed":"203.0.113.7:443","sni":"api.stripe.com"`
	for _, c := range []struct {
		e    *Event
		want string
	}{
		{full, fmt.Sprintf(head, "closed", `"0123456789ab"`) + present + `,"bytes_up":1234,"bytes_down":56789,"duration_ms":61004.567,"ended":"client"}`},
		{&Event{Kind: Challenged}, fmt.Sprintf(head, "challenged", "null") + absent + `}`},
		{&Event{Kind: Refused, Suppressed: 7}, fmt.Sprintf(head, "refused", "null") + absent + `,"suppressed":7}`},
		{&Event{Kind: Answered, QType: "A", Stale: true}, fmt.Sprintf(head, "answered", "null") + absent + `,"type":"A","stale":true}`},
		{&Event{Kind: Opened, Stale: true}, fmt.Sprintf(head, "opened", "null") + absent + `,"stale":true}`},
		{&Event{Kind: Opened}, fmt.Sprintf(head, "opened", "null") + absent + `}`},
		{&Event{Kind: Closed, Duration: -1}, fmt.Sprintf(head, "closed", "null") + absent + `,"bytes_up":0,"bytes_down":0,"duration_ms":0.000,"ended":null}`},
		{&Event{Kind: Answered, QType: "HTTPS"}, fmt.Sprintf(head, "answered", "null") + absent + `,"type":"HTTPS"}`},
		{&Event{Kind: Opened, HasSNI: true}, fmt.Sprintf(head, "opened", "null") + strings.Replace(absent, `"sni":null`, `"sni":""`, 1) + `}`},
		{&Event{Kind: Started, Functions: 2, Rules: 9, Host: "not a request"}, fmt.Sprintf(head, "started", "null") + `,"functions":2,"rules":9,"detail":null}`},
		{&Event{Kind: Reloaded, Policy: "p"}, fmt.Sprintf(head, "reloaded", `"p"`) + `,"functions":0,"rules":0,"detail":null,"was":null,"gained":0,"lost":0,"changes":[]}`},
		{&Event{Kind: Reloaded, Policy: "p", Was: "w", Gained: 3, Lost: 5, Changes: []Change{{"f", 1, 5}, {"g", 2, 0}}}, fmt.Sprintf(head, "reloaded", `"p"`) +
			`,"functions":0,"rules":0,"detail":null,"was":"w","gained":3,"lost":5,"changes":[{"function":"f","gained":1,"lost":5},{"function":"g","gained":2,"lost":0}]}`},
		{&Event{Kind: ReloadFailed, Detail: "line 3"}, fmt.Sprintf(head, "reload_failed", "null") + `,"functions":0,"rules":0,"detail":"line 3"}`},
		{&Event{Kind: Heartbeat, Detail: "not here"}, fmt.Sprintf(head, "heartbeat", "null") + `,"totals":{},"lost":0}`},
		{&Event{Kind: Flood, Function: "f", Owner: "o", Detail: "d", Host: "not here"}, fmt.Sprintf(head, "flood", "null") + `,"client":null,"function":"f","owner":"o","detail":"d"}`},
		{&Event{Kind: Stopped}, fmt.Sprintf(head, "stopped", "null") + `,"totals":{},"lost":0}`},
	} {
		got := encode(c.e)
		if string(got) != c.want+"\n" {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
		if !json.Valid(got) {
			t.Errorf("not JSON: %s", got)
		}
	}
}

func TestNoCharacterThatDoesNotPrintStandsInALine(t *testing.T) {
	for _, c := range []struct{ what, text, want string }{
		{"quotes and backslashes", `a"b\c`, `a\"b\\c`},
		{"a line break that would begin a record", "a\n{\"event\":\"opened\"}\r\t", `a\n{\"event\":\"opened\"}\r\t`},
		{"NUL and DEL", "a\x00b\x7f", `a\u0000b\u007f`},
		{"an ANSI sequence", "\x1b[2Jhi\x1b]0;x\x07", `\u001b[2Jhi\u001b]0;x\u0007`},
		{"C1 controls", "a\u0085b\u009bc", `a\u0085b\u009bc`},
		{"line and paragraph separators", "a\u2028b\u2029", `a\u2028b\u2029`},
		{"marks that turn the direction of text", "a\u202etxt\u2066", `a\u202etxt\u2066`},
		{"characters of no width", "a\u200bb\ufeff", `a\u200bb\ufeff`},
		{"the last of the basic plane and the first beyond it", "\uffff\U0001000c", `\uffff\ud800\udc0c`},
		{"what does not print beyond the basic plane", "\U000e0041", `\udb40\udc41`},
		{"bytes that are not UTF-8", "a\xff\xc3(\xed\xa0\x80", `a\ufffd\ufffd(\ufffd\ufffd\ufffd`},
		{"a rune that is cut off", "a\xe2\x80", `a\ufffd\ufffd`},
		{"text of any script", "bücher.example.日本😀\ufffd", "bücher.example.日本😀\ufffd"},
	} {
		if got := string(appendText(nil, c.text, maxText)); got != `"`+c.want+`"` {
			t.Errorf("%s: got %s, want %s", c.what, got, c.want)
		}
		if got := string(appendText(nil, []byte(c.text), maxText)); got != `"`+c.want+`"` {
			t.Errorf("%s, as bytes: got %s", c.what, got)
		}
	}
}

func TestLongTextIsCutBeforeARuneAndMarked(t *testing.T) {
	for _, c := range []struct{ what, text, want string }{
		{"as long as may be", strings.Repeat("a", 8), strings.Repeat("a", 8)},
		{"one more", strings.Repeat("a", 9), strings.Repeat("a", 8) + "…"},
		{"a rune over the edge", "aaaaaa日b", "aaaaaa…"},
		{"a rune up to the edge", "aaaaa日b", "aaaaa日…"},
		{"a rune of four bytes over the edge", "aaaaa😀", "aaaaa…"},
		{"continuation bytes behind a letter", "aaaaa" + strings.Repeat("\x80", 4), `aaaaa\ufffd\ufffd\ufffd…`},
		{"continuation bytes alone", strings.Repeat("\x80", 9), strings.Repeat(`\ufffd`, 8) + "…"},
	} {
		if got := string(appendText(nil, c.text, 8)); got != `"`+c.want+`"` {
			t.Errorf("%s: got %s, want %s", c.what, got, c.want)
		}
	}
}

// worst returns an event whose every text is s.
func worst(kind Kind, s string) *Event {
	addrs := slices.Repeat([]netip.Addr{netip.MustParseAddr("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff%" + `"zone` + "\n")}, 1000)
	far := netip.AddrPortFrom(addrs[0], 65535)
	return &Event{
		Kind: kind, Policy: s, ID: 1<<64 - 1, Protocol: s, Client: far, Function: s, Owner: s, Via: s, Method: s, Host: s,
		Port: 65535, Verdict: verdict.Deny, Reason: verdict.ReasonSchemeNotSupported, Addresses: addrs, Dialed: far, SNI: s, HasSNI: true,
		BytesUp: -1 << 63, BytesDown: -1 << 63, Duration: 1<<63 - 1, Ended: s, Suppressed: 1<<64 - 1, QType: s,
		Functions: -1 << 63, Rules: -1 << 63, Detail: s, Was: s, Gained: -1 << 63, Lost: -1 << 63,
		Changes: slices.Repeat([]Change{{s, -1 << 63, -1 << 63}}, 10_000),
	}
}

// hostileRule returns the rule of a function of that name, with that ticket.
func hostileRule(tb testing.TB, s string) policy.Rule {
	prefix := netip.MustParsePrefix("203.0.113.0/24")
	p, err := policy.Compile(policy.Spec{Functions: []policy.FunctionSpec{{
		Name:  "f" + s, // a function has a name
		Rules: []policy.RuleSpec{{Prefix: prefix, Conditions: &policy.Conditions{Ports: hostname.Ports(443), Ticket: s}}},
	}}})
	if err != nil {
		tb.Fatal(err)
	}
	return p.Decide(p.Function("f"+s), hostname.Target{Host: hostname.AddrHost(prefix.Addr()), Port: 443}, at).Rule
}

func TestTheLongestLineIsUnder16KiB(t *testing.T) {
	hostile := strings.Repeat("\x01", 10<<10)
	for kind := kindNone + 1; kind < kindCount; kind++ {
		e := worst(kind, hostile)
		e.Rule = hostileRule(t, hostile)
		if line := encode(e); len(line) >= MaxLine || !json.Valid(line) {
			t.Errorf("%v: %d bytes, JSON: %v", kind, len(line), json.Valid(line))
		}
	}
	sum := &Tally{counts: map[tallyKey]uint64{}, lost: 1<<64 - 1}
	for kind := kindNone + 1; kind < kindCount; kind++ {
		for _, r := range append(verdict.Reasons(), verdict.ReasonNone) {
			sum.counts[tallyKey{kind, verdict.Deny, r}] = 1<<64 - 1
		}
	}
	enc := NewEncoder(hostile, hostile)
	if line := enc.AppendLine(nil, worst(Heartbeat, hostile), &Place{Now: at}, sum); len(line) >= MaxLine || !json.Valid(line) {
		t.Errorf("a heartbeat with all totals: %d bytes, JSON: %v", len(line), json.Valid(line))
	}
}

// A reload of ten thousand functions is one line like the others: the sums are whole, and
// it says how many functions it leaves out.
func TestReloadOfManyFunctionsIsOneLineThatSaysHowManyItLeavesOut(t *testing.T) {
	e := &Event{Kind: Reloaded, Policy: "0123456789ab", Was: "ba9876543210", Gained: 12345, Lost: 678, Detail: "what"}
	for i := range 10_000 {
		e.Changes = append(e.Changes, Change{fmt.Sprintf("function-%04d", i), i, 1})
	}
	line := encode(e)
	var got struct {
		Was, Policy  string
		Gained, Lost int
		Changes      []struct {
			Function     string
			Gained, Lost int
		}
		More int `json:"changes_more"`
	}
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatal(err)
	}
	if n := len(got.Changes); n != 64 || n+got.More != 10_000 || got.Changes[7].Function != "function-0007" || got.Changes[7].Gained != 7 || got.Changes[7].Lost != 1 {
		t.Errorf("%d functions and %d more, %+v", n, got.More, got.Changes)
	}
	if got.Was != "ba9876543210" || got.Policy != "0123456789ab" || got.Gained != 12345 || got.Lost != 678 || len(line) > 5000 {
		t.Errorf("%d bytes: %.400s", len(line), line)
	}
	e.Changes = e.Changes[:0]
	if line := string(encode(e)); !strings.Contains(line, `"changes":[]}`) {
		t.Errorf("where nothing differs: %s", line)
	}
}

func TestAddressesBeyond32AreCounted(t *testing.T) {
	line := encode(worst(Refused, "x"))
	var got struct {
		Addresses     []string
		AddressesMore int `json:"addresses_more"`
		Client        string
	}
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Addresses) != 32 || got.AddressesMore != 968 {
		t.Errorf("%d addresses and %d more", len(got.Addresses), got.AddressesMore)
	}
	if want := "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535"; got.Client != want {
		t.Errorf("client %s, want %s", got.Client, want)
	}
}

func TestAddressesUpTo32AreNotCounted(t *testing.T) {
	e := worst(Refused, "x")
	e.Addresses = e.Addresses[:32]
	if line := encode(e); bytes.Contains(line, []byte("addresses_more")) || bytes.Count(line, []byte("2001:db8")) != 34 {
		t.Errorf("%s", line)
	}
}

func TestTimeIsThatOfTheClock(t *testing.T) {
	enc := NewEncoder("b", "v")
	zone := time.FixedZone("", -7*3600)
	for _, when := range []time.Time{
		at, at.Add(999999910 * time.Nanosecond), at.Add(time.Second), at, time.Unix(0, 0), time.Unix(-1, 5),
		time.Date(1999, 12, 31, 23, 59, 59, 999999999, zone),
	} {
		got, err := time.Parse(time.RFC3339Nano, string(enc.time(nil, when)))
		if err != nil || !got.Equal(when) || got.Location() != time.UTC {
			t.Errorf("%v became %v: %v", when, got, err)
		}
	}
}

func TestKindsHaveTheirWords(t *testing.T) {
	want := "unknown started reloaded reload_failed heartbeat challenged refused opened closed answered stopped flood expired unknown"
	var got []string
	for k := range kindCount + 1 {
		got = append(got, k.String())
	}
	if s := strings.Join(got, " "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
}

func TestEncodingDoesNotAllocate(t *testing.T) {
	enc := NewEncoder("0123456789abcdef", "v1.2.3")
	e := request(t)
	e.Host = "b\u00fccher\x00\xff\u202e.example" // the slow way through appendText
	buf := make([]byte, 0, MaxLine)
	p := Place{Now: at}
	if n := testing.AllocsPerRun(100, func() {
		buf = enc.AppendLine(buf[:0], e, &p, nil)
		p.Prev = HashLine(buf)
		p.Now = p.Now.Add(time.Second)
	}); n != 0 {
		t.Errorf("%v allocations a line", n)
	}
}

// capped is what a reader finds of a text that was encoded.
func capped(s string, limit int) string {
	cut := s
	if len(s) > limit {
		cut = s[:runeBoundary(s, limit)]
	}
	valid := string([]rune(cut)) // each byte that is not UTF-8 becomes U+FFFD
	if len(s) > limit {
		valid += "…"
	}
	return valid
}

func FuzzEncoder(f *testing.F) {
	for _, s := range []string{
		"", "evil.example", "a\"b\\c\n\r\t\x00\x1b[31m\x7f", "\u0085\u2028\u2029\u202e\ufeff\U000e0041", "\xff\xfe\xc0\xaf\xed\xa0\x80",
		`","event":"opened","x":"`, "}\n{", strings.Repeat("\x01", 8<<10), strings.Repeat("日", 3000), strings.Repeat("\x80", 300),
	} {
		for kind := kindNone + 1; kind < kindCount; kind++ {
			f.Add(uint8(kind), s)
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, s string) {
		e := worst(Kind(kind), s)
		e.Rule = hostileRule(t, s)
		line := encode(e)
		if len(line) >= MaxLine || bytes.IndexByte(line, '\n') != len(line)-1 || !utf8.Valid(line) {
			t.Fatalf("not one line of UTF-8 under 16 KiB: %d bytes: %q", len(line), line)
		}
		for _, r := range string(line[:len(line)-1]) {
			if !unicode.IsPrint(r) {
				t.Fatalf("%U does not print: %q", r, line)
			}
		}
		var got map[string]any
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		if e.Kind.IsRequest() && s != "" {
			for key, limit := range map[string]int{
				"host": maxText, "sni": maxText, "method": maxText, "owner": maxText, "ticket": maxText,
				"function": maxRule, "via": maxWord, "policy": maxWord, "protocol": maxWord,
			} {
				if want := capped(s, limit); got[key] != want {
					t.Fatalf("%s is %q, want %q", key, got[key], want)
				}
			}
		}
		// Nothing that is put into a text can add a key or take one away.
		if benign := map[string]any{}; json.Unmarshal(encode(worst(Kind(kind), "x")), &benign) != nil || s != "" && len(benign) != len(got) {
			t.Fatalf("%d keys, want %d: %q", len(got), len(benign), line)
		}
	})
}

// BenchmarkEncode measures one line of a closed tunnel with all fields and its
// hash for the chain. It leaves out the lock, the clock and the write.
func BenchmarkEncode(b *testing.B) {
	enc := NewEncoder("0123456789abcdef", "v1.2.3")
	e := request(b)
	buf := make([]byte, 0, MaxLine)
	p := Place{Now: at}
	b.ReportAllocs()
	for b.Loop() {
		p.Seq++
		buf = enc.AppendLine(buf[:0], e, &p, nil)
		p.Prev = HashLine(buf)
	}
	b.SetBytes(int64(len(buf)))
}
