package evidence_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
)

func TestRecordIsReadAsWritten(t *testing.T) {
	lines := written(t, "b1")
	sni := "evil.example"
	got, err := evidence.Parse([]byte(lines[seqClosed-1]))
	want := evidence.Record{
		Time: time.Date(2026, 11, 22, 4, 0, seqClosed, 0, time.UTC), Event: "closed", Process: "b1", Seq: seqClosed, Prev: got.Prev,
		Policy: "one", Version: "v1.2.3", Protocol: "connect", ID: "b1-4", Client: netip.MustParseAddrPort("10.0.3.4:40112"),
		Function: "billing", Owner: "payments", Via: "token", Method: "CONNECT", Host: "evil.example", Port: 443, Verdict: "allow",
		Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Dialed: netip.MustParseAddrPort("192.0.2.1:443"), SNI: &sni,
		BytesUp: 517, BytesDown: 4123, Duration: 1500 * time.Microsecond, Ended: "client",
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v\nwant %+v", got, err, want)
	}
	if got, err := evidence.Parse([]byte(lines[2])); err != nil || got.Suppressed != 4 || got.Count() != 5 || got.Reason != "host_not_allowed" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := evidence.Parse([]byte(lines[0])); err != nil || got.Functions != 2 || got.Rules != 3 || got.Detail != "of egress.yaml" || got.SNI != nil || got.Count() != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	got, err = evidence.Parse([]byte(lines[seqHeartbeat-1]))
	if err != nil || got.Totals["refused"]["host_not_allowed"] != 8 || got.Totals["closed"]["none"] != 1 || got.Lost != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

// The event and the member are not known to the reader: it must not refuse what
// a later version writes.
func TestUnknownMembersAndEventsAreRead(t *testing.T) {
	line := strings.Replace(written(t, "b1")[0], `"event":"started"`, `"event":"later","new":{"a":[1,{}]}`, 1)
	if r, err := evidence.Parse([]byte(line)); err != nil || r.Event != "later" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestWhatIsNoRecordIsToldApart(t *testing.T) {
	good := written(t, "b1")[seqClosed-1]
	for _, c := range []struct {
		line string
		want error
	}{
		{"", evidence.ErrNoRecord},
		{"panic: no", evidence.ErrNoRecord},
		{good[:len(good)-1], evidence.ErrNoRecord},
		{good + "x", evidence.ErrNoRecord},
		{good + good, evidence.ErrNoRecord},
		{strings.Replace(good, `"seq":4`, `"seq":"4"`, 1), evidence.ErrNoRecord},
		{strings.Replace(good, `"seq":4`, `"seq":-4`, 1), evidence.ErrNoRecord},
		{strings.Replace(good, `"seq":4`, `"seq":0`, 1), evidence.ErrNoRecord},
		{strings.Replace(good, `"seq":4`, `"seq":04`, 1), evidence.ErrNoRecord},
		{strings.Replace(good, `"seq":4`, `"seq":18446744073709551616`, 1), evidence.ErrNoRecord},
		{strings.Replace(good, `"seq":4`, `"seq":4,"seq":4`, 1), evidence.ErrNoRecord},
		{strings.Replace(good, `"seq":4`, `"seq":4,"\u0073eq":5`, 1), evidence.ErrNoRecord},
		{strings.Replace(good, `"boot":"b1"`, `"boot":null`, 1), evidence.ErrNoRecord},
		{strings.Replace(good, `"prev":"`, `"prev":"0`, 1), evidence.ErrNoRecord},
		{strings.Replace(good, `"client":"10.`, `"client":"1000.`, 1), evidence.ErrNoRecord},
		{strings.Replace(good, `["192.0.2.1"]`, `["x"]`, 1), evidence.ErrNoRecord},
		{strings.Replace(good, `["192.0.2.1"]`, `"192.0.2.1"`, 1), evidence.ErrNoRecord},
		{strings.Replace(good, `"port":443`, `"port":65536`, 1), evidence.ErrNoRecord},
		{strings.Replace(good, `"time":"2026-11`, `"time":"2026-13`, 1), evidence.ErrNoRecord},
		{strings.Replace(good, `"bytes_up":517`, `"bytes_up":5.17`, 1), evidence.ErrNoRecord},
		{strings.Replace(good, `"duration_ms":1.500`, `"duration_ms":-1`, 1), evidence.ErrNoRecord},
		{strings.Replace(good, `"time"`, `"_aws":{},"time"`, 1), evidence.ErrOtherJSON},
		{`{"time":"2026-11-22T04:00:00Z","level":"INFO","msg":"serving"}`, evidence.ErrOtherJSON},
		{"7", evidence.ErrOtherJSON},
		{`["boot"]`, evidence.ErrOtherJSON},
		{"null", evidence.ErrOtherJSON},
		{strings.Repeat("[", 1000) + strings.Repeat("]", 1000), evidence.ErrNoRecord},
	} {
		if r, err := evidence.Parse([]byte(c.line)); !errors.Is(err, c.want) || !reflect.DeepEqual(r, evidence.Record{}) {
			t.Errorf("%.300s: %v, want %v", c.line, err, c.want)
		}
	}
}

// FuzzParse proves that no line makes Parse panic, that it calls a record
// nothing that encoding/json cannot read, and reads the same of it.
func FuzzParse(f *testing.F) {
	for _, line := range written(f, "b1") {
		f.Add([]byte(line))
		f.Add([]byte(strings.ReplaceAll(line, `"host":"`, "\"host\":\"\xff\xfe")))
	}
	for _, line := range []string{"", "{}", `{"a":1e9}`, `"\ud834\udd1e\ud834"`, `[1,-0.5E+3,true,false,null]`, "\xff", `{"a":{"a":{}}}`, `"\/\b\f\n\r\t\u00e9"`} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := evidence.Parse(line)
		if errors.Is(err, evidence.ErrNoRecord) {
			return
		}
		if !json.Valid(line) {
			t.Fatalf("%v for what is no JSON: %q", err, line)
		}
		if err != nil {
			return
		}
		var want map[string]any
		if err := json.Unmarshal(line, &want); err != nil {
			t.Fatal(err)
		}
		for key, got := range map[string]string{"event": r.Event, "boot": r.Process, "prev": r.Prev, "host": r.Host, "function": r.Function} {
			if text, _ := want[key].(string); text != string([]rune(got)) { // each byte that is not UTF-8 is U+FFFD
				t.Errorf("%s is %q, encoding/json reads %q", key, got, text)
			}
		}
	})
}
