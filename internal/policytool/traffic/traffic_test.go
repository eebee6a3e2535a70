package traffic_test

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/traffic"
)

// noon is when the tests of this file begin.
var noon = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

// chain returns ten minutes of requests.
func chain() *egresstest.Chain {
	c := &egresstest.Chain{Process: "b1", Policy: "aaaaaaaaaaaa"}
	c.Started(noon)
	for i := range 10 {
		c.Add(egresstest.Request{At: noon.Add(time.Duration(i) * time.Minute), Function: "f", Host: "x.example", Port: 443, Verdict: "report", Reason: "host_not_allowed"})
	}
	c.Add(egresstest.Request{At: noon.Add(11 * time.Minute), Event: "refused", Function: "f", Host: "y.example", Port: 22, Verdict: "deny", Reason: "port_not_allowed", Suppressed: 4})
	c.Add(egresstest.Request{At: noon.Add(12 * time.Minute), Event: "refused", Function: "f", Host: "z.example", Port: 443, Verdict: "deny", Reason: "dns_failed"})
	c.Add(egresstest.Request{At: noon.Add(13 * time.Minute), Event: "answered", Protocol: "dns", Function: "f", Host: "x.example", Verdict: "allow"})
	return c
}

func read(data []byte) (*traffic.Traffic, error) {
	return traffic.Read(traffic.Options{Files: []string{"-"}, Stdin: bytes.NewReader(data)})
}

func TestRequestsAreSummedUpByTarget(t *testing.T) {
	got, err := read(chain().Bytes())
	if err != nil || len(got.Gaps) != 0 {
		t.Fatal(err, got.Gaps)
	}
	x := got.Targets[traffic.Key{Function: "f", Host: "x.example", Port: 443}]
	y := got.Targets[traffic.Key{Function: "f", Host: "y.example", Port: 22}]
	asked := got.Targets[traffic.Key{Function: "f", Host: "x.example"}]
	if len(got.Targets) != 3 || x == nil || x.Reported != 10 || x.Allowed != 0 || len(x.Days) != 1 || y == nil || y.Refused != 5 || y.Passed() != 0 || asked == nil || asked.Allowed != 1 {
		t.Errorf("%+v: %+v, %+v, %+v", got.Targets, x, y, asked)
	}
	if got.Policies["aaaaaaaaaaaa"] != 16 || got.Functions["f"].Days() != 1 || got.Functions["f"].Runs() != 1 {
		t.Errorf("%v, %d days, %d runs", got.Policies, got.Functions["f"].Days(), got.Functions["f"].Runs())
	}
}

func TestChangedOrRepeatedRecordsAreAnError(t *testing.T) {
	whole := string(chain().Bytes())
	lines := strings.SplitAfter(whole, "\n")
	for name, text := range map[string]string{
		"a host is changed": strings.Replace(whole, "x.example", "evil.example", 1),
		"a line is added":   lines[0] + lines[1] + strings.Replace(lines[2], "x.example", "evil.example", 1) + strings.Join(lines[2:], ""),
		"a line twice":      lines[0] + lines[1] + lines[1] + strings.Join(lines[2:], ""),
		"all twice":         whole + whole,
		"no record":         "{\"a\":1}\n",
		"nothing":           "",
	} {
		if got, err := read([]byte(text)); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestWhatIsMissingIsTold(t *testing.T) {
	whole := string(chain().Bytes())
	lines := strings.SplitAfter(whole, "\n")
	later := &egresstest.Chain{Process: "b2", Policy: "aaaaaaaaaaaa"}
	later.Started(noon.Add(2 * time.Hour))
	for name, text := range map[string]string{
		"half a line":    strings.Join(lines[:5], "") + lines[5][:40] + "\n" + strings.Join(lines[6:], ""),
		"no beginning":   strings.Join(lines[3:], ""),
		"a line is gone": strings.Join(append(append([]string{}, lines[:4]...), lines[5:]...), ""),
		"two hours":      whole + string(later.Bytes()),
	} {
		if got, err := read([]byte(text)); err != nil || len(got.Gaps) == 0 {
			t.Errorf("%s: %v, no gap is told", name, err)
		}
	}
}

func TestGzipIsRead(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(chain().Bytes())
	if err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	if got, err := read(b.Bytes()); err != nil || len(got.Targets) != 3 {
		t.Errorf("%+v, %v", got, err)
	}
	// One that breaks off is an error, or told: it is not taken for all.
	for n := range b.Len() {
		if got, err := read(b.Bytes()[:n]); err == nil && len(got.Gaps) == 0 {
			t.Errorf("%d bytes of %d: %+v", n, b.Len(), got)
		}
	}
}

func TestRunEndsByAQuarterOfAnHour(t *testing.T) {
	c := &egresstest.Chain{Process: "b1"}
	c.Started(noon)
	for _, minutes := range []int{0, 14, 28, 43, 600, 601, 24 * 60} {
		c.Add(egresstest.Request{At: noon.Add(time.Duration(minutes) * time.Minute), Function: "f", Host: "x.example", Port: 443})
	}
	got, err := read(c.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	f := got.Functions["f"]
	if f.Runs() != 4 || f.Days() != 2 {
		t.Errorf("%d runs on %d days", f.Runs(), f.Days())
	}
	for minutes, want := range map[int]bool{0: true, -14: true, -16: false, 44: false, 590: true} {
		if f.Within(noon.Add(time.Duration(minutes)*time.Minute), 15*time.Minute) != want {
			t.Errorf("within a quarter of an hour of minute %d: %t", minutes, !want)
		}
	}
}
