package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/probe"
)

// rejecting is the end of a fence that says no at once, as far as nftables can.
const rejecting = "meta l4proto tcp reject with tcp reset\nicmp type echo-request drop\nreject with icmpx port-unreachable"

// targets are those of the internet of the test.
var targets = []string{
	"refused-name=refused.test:443",
	"direct-443=" + targetAddress + ":443#target.test", "direct-443=" + prefixAddress + ":443#target.test",
	"direct-80=" + targetAddress + ":80#target.test",
	"ipv6=[" + targetIPv6 + "]:443#target.test",
	"own-resolver=" + resolverAddress + ":53#refused.test=192.0.2.7",
	"resolver-udp=" + targetAddress + ":53#refused.test=192.0.2.7",
	"resolver-tcp=" + targetAddress + ":53#refused.test=192.0.2.7",
	"dns-over-tls=" + targetAddress + ":853#target.test",
	"dns-over-https=" + dohAddress + ":443#target.test",
	"ntp=" + targetAddress + ":123",
	"icmp=" + targetAddress,
	"metadata-ipv4=" + metadataAddress + ":80#EC2ws",
	"metadata-ipv6=[" + metadataIPv6 + "]:80#EC2ws",
	"endpoint=https://bucket.test/object#" + endpointAddress + ":443",
}

// probe runs posture probe inside the fence, with targets and more arguments.
func (n *fenced) probe(targets []string, more ...string) (*probe.Report, int) {
	n.t.Helper()
	program, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	args := []string{"netns", "exec", n.inside, program, "probe", "--control", "allowed.test:443", "--timeout", "2s", "--format", "json", "--fail-on", "hole"}
	for _, t := range targets {
		args = append(args, "--target", t)
	}
	cmd := exec.CommandContext(n.t.Context(), "ip", append(args, more...)...)
	cmd.Env = append(os.Environ(), asPosture+"=1", proxyVariable+"=http://fn:secret@"+gateAddress+":3128", "SSL_CERT_FILE="+n.roots)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // its exit code says what came of it
	var r probe.Report
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		n.t.Fatalf("%v: %s%s", err, stdout.String(), stderr.String())
	}
	return &r, cmd.ProcessState.ExitCode()
}

// ways returns the ways of a class, once each, in their order.
func ways(r *probe.Report, class probe.Class) (all []probe.Way) {
	for i := range r.Findings {
		if f := &r.Findings[i]; f.Class == class && !slices.Contains(all, f.Way) {
			all = append(all, f.Way)
		}
	}
	return all
}

// Each fence has one hole, which is named, and no other is invented.
func TestEachHoleOfAFenceIsNamedAndNoneIsInvented(t *testing.T) {
	n := newFenced(t)
	for _, fence := range []struct {
		name  string
		rule  string
		wrong interface{ Store(bool) }
		want  probe.Way
	}{
		{"UDP 53 is open", "udp dport 53 accept", nil, probe.ResolverUDP},
		{"TCP 53 is open", "tcp dport 53 accept", nil, probe.ResolverTCP},
		{"IPv6 was forgotten", "ip6 daddr 2001:db8::/32 accept", nil, probe.IPv6},
		{"443 to one prefix", "ip daddr " + prefixAddress + "/32 tcp dport 443 accept", nil, probe.Direct443},
		{"80 is open", "ip daddr 198.51.100.0/24 tcp dport 80 accept", nil, probe.Direct80},
		{"853 is open", "tcp dport 853 accept", nil, probe.DNSOverTLS},
		{"443 to a resolver", "ip daddr " + dohAddress + " tcp dport 443 accept", nil, probe.DNSOverHTTPS},
		{"NTP is open", "udp dport 123 accept", nil, probe.NTP},
		{"ICMP alone", "icmp type echo-request accept", nil, probe.ICMP},
		{"metadata", "ip daddr " + metadataAddress + " accept", nil, probe.MetadataIPv4},
		{"metadata by IPv6", "ip6 daddr " + metadataIPv6 + " accept", nil, probe.MetadataIPv6},
		{"the resolver answers anything", "", &n.resolver, probe.OwnResolver},
		{"the endpoint leads to any bucket", "", &n.endpoint, probe.Endpoint},
		{"the proxy knows no policy", "", &n.refusedName, probe.RefusedName},
		{"the proxy is open to anyone", "", &n.noCredential, probe.NoCredential},
		{"the proxy takes any credential", "", &n.otherCredential, probe.OtherCredential},
	} {
		t.Run(fence.name, func(t *testing.T) {
			n.fence(rejecting, fence.rule)
			if fence.wrong != nil {
				fence.wrong.Store(true)
				defer fence.wrong.Store(false)
			}
			r, code := n.probe(targets)
			if got := ways(r, probe.Open); r.Verdict != probe.Hole || !slices.Equal(got, []probe.Way{fence.want}) || code != exitFound {
				t.Errorf("exit %d, %s, holes %q, want %s: %+v", code, r.Verdict, got, fence.want, r.Findings)
			}
		})
	}
}

// The same tries that find each hole find none where there is none, whether the fence is
// silent or says no.
func TestAFenceThatHoldsHasNoHole(t *testing.T) {
	n := newFenced(t)
	for _, verdict := range []string{"drop", rejecting} {
		n.fence(verdict)
		r, code := n.probe(targets)
		if r.Verdict != probe.Sound || code != exitOK || len(r.Untried) != 0 || len(ways(r, probe.Held)) != len(probe.Table) {
			t.Errorf("%s: exit %d, %s, not tried %q: %+v", verdict, code, r.Headline, r.Untried, r.Findings)
		}
	}
}

// A probe that cannot do what should work says nothing about the fence: not that it holds,
// for it may be cut off from everything, and not that it has a hole, for a box that says yes
// to all may stand in the proxy's place.
func TestAControlThatFailsSaysNothingAboutTheFence(t *testing.T) {
	n := newFenced(t)
	for name, status := range map[string]int64{"the proxy refuses": 403, "the proxy is broken": 502} {
		n.proxyStatus.Store(status)
		n.fence("drop", "udp dport 53 accept")
		if r, code := n.probe(targets); r.Verdict != probe.Unknown || code != exitOK || len(r.Findings) != 1 {
			t.Errorf("%s: exit %d, %+v", name, code, r)
		}
	}
	n.proxyStatus.Store(0)
	// A handshake with what is not the allowed name is no control.
	if r, code := n.probe(targets, "--control", "other.test:443", "--fail-on", "unknown"); r.Verdict != probe.Unknown || code != exitFound {
		t.Errorf("another name: exit %d, %+v", code, r)
	}
	n.refusedName.Store(true)
	if r, _ := n.probe(targets, "--control", "other.test:443"); r.Verdict != probe.Unknown || !strings.Contains(r.Findings[0].Detail, "handshake failed") {
		t.Errorf("a box that says yes: %+v", r)
	}
}

// What answers in a target's stead, is slow, or is down, is told apart from a hole.
func TestCaptiveSlowAndDeadTargetsAreToldApart(t *testing.T) {
	n := newFenced(t)
	n.fence(rejecting, "ip daddr "+targetAddress+" tcp dport { 80, 53, 443-447 } accept")
	for _, target := range []struct {
		name, target string
		class        probe.Class
		verdict      probe.Verdict
		detail       string
	}{
		{"a certificate of another", "direct-443=" + targetAddress + ":444#target.test", probe.Captive, probe.Unclear, "something else answers"},
		{"no TLS", "direct-443=" + targetAddress + ":80#target.test", probe.Captive, probe.Unclear, "something else answers"},
		{"other words", "direct-80=" + targetAddress + ":80#cloudflare", probe.Captive, probe.Unclear, `without "cloudflare" in its head`},
		{"other addresses", "resolver-tcp=" + targetAddress + ":53#refused.test=192.0.2.8", probe.Captive, probe.Unclear, "192.0.2.7"},
		{"slow", "direct-443=" + targetAddress + ":445#target.test", probe.Open, probe.Hole, "target.test"},
		{"down", "direct-443=" + targetAddress + ":446#target.test", probe.Held, probe.Sound, "refused"},
		{"mute", "direct-443=" + targetAddress + ":447#target.test", probe.Connected, probe.Unclear, "no answer in time"},
	} {
		t.Run(target.name, func(t *testing.T) {
			rest := slices.DeleteFunc(slices.Clone(targets), func(s string) bool {
				return strings.HasPrefix(target.target, s[:strings.Index(s, "=")+1]) || strings.HasPrefix(s, "direct-80=") || strings.HasPrefix(s, "direct-443=") || strings.HasPrefix(s, "resolver-tcp=")
			})
			for _, way := range []string{"direct-443", "direct-80", "resolver-tcp"} {
				if !strings.HasPrefix(target.target, way+"=") {
					rest = append(rest, way+"=")
				}
			}
			r, _ := n.probe(append(rest, target.target))
			way := probe.Way(target.target[:strings.Index(target.target, "=")])
			at := slices.IndexFunc(r.Findings, func(f probe.Finding) bool { return f.Way == way })
			if f := r.Findings[at]; r.Verdict != target.verdict || f.Class != target.class || !strings.Contains(f.Detail, target.detail) {
				t.Errorf("%s: %s: %s", r.Headline, f.Class, f.Detail)
			}
			if target.verdict == probe.Unclear {
				if r, code := n.probe(append(rest, target.target), "--intercepted", string(way), "--fail-on", "unclear"); r.Verdict != probe.Sound || code != exitOK {
					t.Errorf("known to be the fence's own: exit %d, %s", code, r.Headline)
				}
			}
		})
	}
}

// As a function of Lambda it finds what it finds from a shell, and its metric says so.
func TestAsAFunctionBehindAFenceItSaysWhetherItHolds(t *testing.T) {
	n := newFenced(t)
	var ln net.Listener
	n.in(n.inside, func() { ln = loopback(t) })
	f := newFunction(t, newRuntimeAPI(t, ln, time.Minute), []string{"ip", "netns", "exec", n.inside},
		proxyVariable+"=http://fn:secret@"+gateAddress+":3128", "SSL_CERT_FILE="+n.roots, "PROBE_CONTROL=allowed.test:443", "PROBE_TIMEOUT=2s",
		"PROBE_FORMAT=emf", "PROBE_TARGET="+strings.Join(targets, " "))
	for _, row := range []struct{ rule, verdict string }{{"", "holds"}, {"udp dport 53 accept", "hole"}, {"", "holds"}} {
		n.fence(rejecting, row.rule)
		if what, text := f.invoke(t, "{}"); what != "response" || !strings.Contains(text, `"verdict":"`+row.verdict+`"`) {
			t.Errorf("%q: %s %s", row.rule, what, text)
		}
	}
	f.end()
	if holds := regexp.MustCompile(`"FenceHolds":(\d)`).FindAllStringSubmatch(f.stdout.String(), -1); len(holds) != 3 || holds[0][1]+holds[1][1]+holds[2][1] != "101" {
		t.Errorf("%q", holds)
	}
}
