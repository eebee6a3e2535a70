package evidence_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// The lines of a boot of the tests: who changes this changes the numbers that
// the tests name.
const (
	seqClosed    = 4
	seqHeartbeat = 7  // the first one
	seqReloaded  = 12 // the policy is "two" from here on
	seqStopped   = 20
)

// written returns the lines of a boot as the proxy's own log writes them: twenty,
// the last one says that it stopped.
func written(t testing.TB, name string) []string {
	t.Helper()
	var out bytes.Buffer
	now := time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)
	log := audit.New(&out, audit.Options{Process: name, Version: "v1.2.3", Now: func() time.Time {
		now = now.Add(time.Second)
		return now
	}})
	hash := "one"
	for seq := 1; seq <= seqStopped; seq++ {
		e := &audit.Event{
			Kind: audit.Refused, Policy: hash, ID: log.NextID(), Protocol: "connect", Client: netip.MustParseAddrPort("10.0.3.4:40112"),
			Function: "billing", Owner: "payments", Via: "token", Method: "CONNECT", Host: "evil.example", Port: 443,
			Verdict: verdict.Deny, Reason: verdict.ReasonHostNotAllowed, SNI: "evil.example",
			Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Dialed: netip.MustParseAddrPort("192.0.2.1:443"),
		}
		switch seq {
		case 1:
			e = &audit.Event{Kind: audit.Started, Policy: hash, Functions: 2, Rules: 3, Detail: "of egress.yaml"}
		case 3:
			e.Suppressed = 4
		case seqClosed:
			e.Kind, e.Verdict, e.Reason, e.Ended = audit.Closed, verdict.Allow, verdict.ReasonNone, "client"
			e.BytesUp, e.BytesDown, e.Duration = 517, 4123, 1500*time.Microsecond
		case seqHeartbeat, 16:
			e = &audit.Event{Kind: audit.Heartbeat, Policy: hash}
		case seqReloaded:
			hash = "two"
			e = &audit.Event{Kind: audit.Reloaded, Policy: hash, Functions: 2, Rules: 4}
		case seqStopped:
			e = &audit.Event{Kind: audit.Stopped, Policy: hash}
		}
		if err := log.Record(e); err != nil {
			t.Fatal(err)
		}
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

// file writes lines to a file and returns its path.
func file(t testing.TB, name string, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// verified verifies files.
func verified(t testing.TB, files ...string) evidence.Result {
	t.Helper()
	v := evidence.NewVerifier()
	v.Expect(files)
	if err := evidence.Read(files, nil, func(l evidence.Line) error { v.Add(l); return nil }); err != nil {
		t.Fatal(err)
	}
	return v.Result()
}

// verifiedLines verifies lines as one file "f".
func verifiedLines(lines ...string) evidence.Result {
	v := evidence.NewVerifier()
	for i, l := range lines {
		v.Add(evidence.Line{File: "f", Number: i + 1, Raw: []byte(l)})
	}
	return v.Result()
}

// findings returns the findings of a result in short: "gap 3-4", "changed 3 @3".
func findings(res evidence.Result) (all []string) {
	list := slices.Clone(res.Findings)
	for _, b := range res.Processes {
		list = append(list, b.Findings...)
	}
	for _, f := range list {
		s := string(f.Kind)
		switch {
		case f.From == 0:
		case f.From == f.To:
			s += fmt.Sprintf(" %d", f.From)
		default:
			s += fmt.Sprintf(" %d-%d", f.From, f.To)
		}
		if f.Line > 0 {
			s += fmt.Sprintf(" @%d", f.Line)
		}
		all = append(all, s)
	}
	return all
}

// check compares the findings, and that a result with some is not whole.
func check(t *testing.T, res evidence.Result, want ...string) {
	t.Helper()
	if got := findings(res); !slices.Equal(got, want) {
		t.Errorf("findings %q, want %q; %+v", got, want, res)
	}
	if res.Whole != (len(want) == 0) {
		t.Errorf("whole is %t with findings %q", res.Whole, want)
	}
}

var (
	prevField = regexp.MustCompile(`"prev":"[0-9a-f]{64}"`)
	seqField  = regexp.MustCompile(`"seq":\d+`)
)

// rechained gives lines the numbers and hashes that they would have had if they
// had been written like this, which is what a forger does.
func rechained(name string, lines []string) []string {
	prev := sha256.Sum256([]byte(name))
	out := slices.Clone(lines)
	for i := range out {
		out[i] = prevField.ReplaceAllString(out[i], `"prev":"`+hex.EncodeToString(prev[:])+`"`)
		out[i] = seqField.ReplaceAllString(out[i], fmt.Sprintf(`"seq":%d`, i+1))
		prev = sha256.Sum256([]byte(out[i]))
	}
	return out
}

// without returns lines without those from..to, counted from 1.
func without(lines []string, from, to int) []string {
	return slices.Delete(slices.Clone(lines), from-1, to)
}

// replaced returns lines with a text of the given line replaced.
func replaced(t testing.TB, lines []string, n int, old, by string) []string {
	t.Helper()
	if !strings.Contains(lines[n-1], old) {
		t.Fatalf("line %d has no %s: %s", n, old, lines[n-1])
	}
	out := slices.Clone(lines)
	out[n-1] = strings.Replace(out[n-1], old, by, 1)
	return out
}

// quoted is s as JSON.
func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}
