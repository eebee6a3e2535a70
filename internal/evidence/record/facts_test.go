package record_test

import (
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence/record"
)

// refused is a record.
var refused = `{"time":"2026-11-22T04:00:00Z","event":"refused","boot":"b1","seq":7,"prev":"` + strings.Repeat("0", 64) +
	`","policy":"one","verdict":"deny","reason":"host_not_allowed","suppressed":2}`

func TestFactsSayWhatALineIs(t *testing.T) {
	for _, c := range []struct {
		what, line string
		class      record.Class
		process    string
		seq        uint64
	}{
		{"a record", refused, record.Whole, "b1", 7},
		{"its beginning", refused[:100], record.Partial, "b1", 7},
		{"less of it", refused[:20], record.Partial, "", 0},
		{"metrics", `{"_aws":{},"Decisions":1}`, record.OtherJSON, "", 0},
		{"JSON that is no object", `[1]`, record.OtherJSON, "", 0},
		{"text", "panic: no", record.Unreadable, "", 0},
		{"nothing", "", record.Unreadable, "", 0},
		{"a record with a member twice", strings.Replace(refused, `"seq":7`, `"seq":7,"seq":7`, 1), record.Unreadable, "", 0},
		{"a record without a number", strings.Replace(refused, `"seq":7`, `"seq":0`, 1), record.Unreadable, "", 0},
		{"a hash that is too short", strings.Replace(refused, `"prev":"0`, `"prev":"`, 1), record.Unreadable, "", 0},
	} {
		var f record.Facts
		f.Read([]byte(c.line), nil)
		if f.Class != c.class || c.process != "" && string(f.Process) != c.process || c.seq > 0 && f.Seq != c.seq {
			t.Errorf("%s: class %d of %q, seq %d", c.what, f.Class, f.Process, f.Seq)
		}
		if whole := c.class == record.Whole; whole && (f.Hash != sha256.Sum256([]byte(c.line)) || f.Weight != 3 || !f.Request) {
			t.Errorf("%s: %+v", c.what, f)
		}
	}
}
