package ocsf_test

import (
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/ocsf"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// hostile are texts that a client or an operator can bring into a record.
var hostile = []string{
	"\x00\x01\x1b[2J\x7f", "\u009b2J\u009d0;owned\u009c", "\u2028\u2029\u0085", "\xff\xfe\xc3\x28", `"}],"class_uid":1,"x":"`, "a\r\nb\n{}", "<script>alert(1)</script>",
	"\u202eevil", "=cmd|' /C calc'!A0", strings.Repeat("ü", 8<<10), `\u0000\"`, "",
}

func TestHostileTextIsOneLineOfValidJSON(t *testing.T) {
	s := loadSchema(t)
	for _, text := range hostile {
		var events []audit.Event
		for _, protocol := range []string{"connect", "http", "dns", text} {
			for _, kind := range []audit.Kind{audit.Refused, audit.Closed, audit.Answered} {
				events = append(events, audit.Event{
					Kind: kind, Policy: text, ID: 1, Protocol: protocol, Function: text, Owner: text, Via: text, Method: text, Host: text,
					Port: 443, SNI: text, HasSNI: true, Ended: text, QType: text,
				})
			}
		}
		lines, counts := export(t, records(t, events...)...)
		if len(lines) != len(events) || counts.Partial != 0 {
			t.Fatalf("%q: %d lines of %d events, counted %+v", text, len(lines), len(events), counts)
		}
		for _, line := range lines {
			if wrong := s.check([]byte(line)); len(wrong) > 0 {
				t.Errorf("%q: %v", text, wrong)
			}
			if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) || !utf8.ValidString(line) || strings.Contains(line, "<script") {
				t.Errorf("%q stands raw in %q", text, line)
			}
		}
	}
}

// Records that this program does not write, and that still are records.
func TestRecordOfNoTimeFitsTheSchema(t *testing.T) {
	s := loadSchema(t)
	written := records(t, full(audit.Closed, "connect"))[0]
	for _, time := range []string{"", `"time":null,`, `"time":"0001-01-01T00:00:00Z",`, `"time":"1969-12-31T23:59:59Z",`, `"time":"1970-01-01T00:00:01Z",`, `"time":"9999-12-31T23:59:59Z",`} {
		line := regexp.MustCompile(`"time":"[^"]*",`).ReplaceAllLiteralString(written, time)
		events, counts := export(t, line)
		if len(events) != 1 {
			t.Errorf("%s: %d events, counted %+v", time, len(events), counts)
			continue
		}
		if wrong := s.check([]byte(events[0])); len(wrong) > 0 {
			t.Errorf("%s became %s: %v", line, events[0], wrong)
		}
	}
}

// A number that no record has is not one.
func TestRecordOfNegativeOrOverflowingSizesIsNone(t *testing.T) {
	written := records(t, full(audit.Closed, "connect"))[0]
	for _, bytes := range []string{"-1", "-9223372036854775808", "9223372036854775807", "18446744073709551615", "1.5"} {
		for _, key := range []string{"bytes_up", "bytes_down"} {
			line := regexp.MustCompile(`"`+key+`":[0-9]+`).ReplaceAllLiteralString(written, `"`+key+`":`+bytes)
			if events, counts := export(t, line); len(events) != 0 || counts.Partial != 1 {
				t.Errorf("%s %s: %v, counted %+v", key, bytes, events, counts)
			}
		}
	}
}

// It fails at the latest when its buffer is full: it holds no more than that.
func TestErrorsOfWritingAreTold(t *testing.T) {
	line := records(t, full(audit.Opened, "connect"))[0]
	e := ocsf.New(brokenWriter{})
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		err = e.Add([]byte(line))
	}
	if !errors.Is(err, errFull) || n > 100 {
		t.Errorf("after %d events: %v", n, err)
	}
	if err := e.Flush(); !errors.Is(err, errFull) {
		t.Errorf("Flush: %v", err)
	}
}

var errFull = errors.New("no space")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errFull }

// FuzzAdd holds that whatever is a record of a request becomes one line that
// fits the schema, and nothing else becomes a line.
func FuzzAdd(f *testing.F) {
	s := loadSchema(f)
	for _, e := range everyEvent()[:40] {
		f.Add([]byte(records(f, e)[0]))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		events, counts := export(t, string(raw))
		if n := counts.Records() + counts.OtherJSON + counts.Partial; n != 1 || uint64(len(events)) != counts.HTTP+counts.DNS {
			t.Fatalf("%q: %d events, counted %+v", raw, len(events), counts)
		}
		for _, event := range events {
			if wrong := s.check([]byte(event)); len(wrong) > 0 {
				t.Errorf("%q became %s: %v", raw, event, wrong)
			}
		}
	})
}

// BenchmarkAdd measures one refusal from its line to its event. It leaves out
// reading the file and the disk.
func BenchmarkAdd(b *testing.B) {
	e := full(audit.Refused, "connect")
	e.Verdict, e.Reason = verdict.Deny, verdict.ReasonHostNotAllowed
	line := []byte(records(b, e)[0])
	exporter := ocsf.New(io.Discard)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if err := exporter.Add(line); err != nil {
			b.Fatal(err)
		}
	}
}
