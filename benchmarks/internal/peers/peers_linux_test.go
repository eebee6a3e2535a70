package peers

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/load"
)

// started builds our program and starts what it reaches.
func started(t *testing.T) *Bench {
	t.Helper()
	b := &Bench{Dir: t.TempDir()}
	b.Binary = filepath.Join(b.Dir, "proxy")
	if out, err := exec.Command("go", "build", "-o", b.Binary, "../../../cmd/proxy").CombinedOutput(); err != nil {
		t.Fatalf("building the proxy: %v: %s", err, out)
	}
	var err error
	if b.Servers, err = StartServers(); err != nil {
		t.Fatal(err)
	}
	return b
}

// A load that is answered otherwise than it should be is an error, so this fails
// when the policy that is written here no longer allows what the loads ask for.
func TestEveryLoadIsAnsweredByOurProgramAsItShouldBe(t *testing.T) {
	t.Parallel()
	b := started(t)
	proxy, err := b.startWhole()
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Proc.Stop()
	measures := []load.Measure{load.WholeIdle(10, "idle")}
	for _, m := range load.Measures {
		if m.EveryRound {
			measures = append(measures, m)
		}
	}
	for _, m := range measures {
		figures, err := m.Sample(proxy, b.Servers.Origins, 0.02)
		if err != nil || len(figures) != len(m.Figures()) {
			t.Errorf("%s: %v, %v", m.Name, figures, err)
		}
		for i, f := range figures {
			if !(f > 0) {
				t.Errorf("%s is %g", m.Figures()[i], f)
			}
		}
	}
	relay, err := b.startHAProxy()
	switch {
	case errors.Is(err, ErrMissing):
		t.Log("HAProxy is not installed, so that its TLS frontend is not asked")
	case err != nil:
		t.Fatal(err)
	default:
		defer relay.Proc.Stop()
		for _, m := range measures {
			if m.Peer == relay.Name {
				if figures, err := m.Sample(relay, b.Servers.Origins, 0.02); err != nil || !(figures[0] > 0) {
					t.Errorf("%s of %s: %v, %v", m.Name, relay.Name, figures, err)
				}
			}
		}
	}
	filter, err := b.StartFilter()
	if err != nil {
		t.Fatal(err)
	}
	defer filter.Proc.Stop()
	questions, err := load.WriteQuestions(b.Dir)
	if errors.Is(err, load.ErrNoDNSPerf) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := questions.FillCache(filter); err != nil {
		t.Fatal(err)
	}
	for _, m := range load.LookupMeasures {
		if figures, err := questions.Sample(m, filter, 0.02); err != nil || len(figures) != 1 || !(figures[0] > 0) {
			t.Errorf("%s: %v, %v", m.Name, figures, err)
		}
	}
}

func TestConfigurationThatIsRefusedIsToldWithWhatOurProgramSays(t *testing.T) {
	t.Parallel()
	b := started(t)
	if _, err := b.startOursWith("none", filepath.Join(b.Dir, "no-such-list"), newer{}); err == nil || !strings.Contains(err.Error(), "sets.list.file: ") {
		t.Errorf("with a list that is not there: %v", err)
	}
}

func TestMissingPeerIsNamed(t *testing.T) {
	b := started(t)
	t.Setenv("PATH", b.Dir) // the only program there is ours
	all, missing, err := b.StartResolvers("dns")
	for _, r := range all {
		r.Proc.Stop()
	}
	if err != nil || len(all) != 1 || len(missing) != 2 || missing[0] != "dnsdist" || missing[1] != "dnsmasq" {
		t.Errorf("started %d, missing %q, %v", len(all), missing, err)
	}
}
