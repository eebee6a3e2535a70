package report

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// BenchmarkAdd measures one line: parsed, verified and counted, of a stream in
// which a third is refused with a host of its own. It leaves out reading files
// and writing the report; the lines are counted again from the beginning when
// they are through, so the verifier finds them repeated.
func BenchmarkAdd(b *testing.B) {
	s := newStream(b, "20d173ed2881e314")
	for i := range 1_000 {
		client := fmt.Sprintf("10.0.12.%d:%d", i%200, 1024+i)
		e := s.event(audit.Opened, client, "billing", "api.stripe.com")
		c := e
		c.Kind, c.BytesUp, c.BytesDown, c.Ended = audit.Closed, 700, 12_000, "client"
		s.record(e, c)
		s.refuse(client, "billing", fmt.Sprintf("h%d.evil.example", i), verdict.ReasonHostNotAllowed)
	}
	lines := bytes.Split(bytes.TrimSpace(s.end()), []byte("\n"))
	r := New(Options{})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_ = r.Add(evidence.Line{File: "records.jsonl", Number: i + 1, Raw: lines[i%len(lines)]})
	}
}
