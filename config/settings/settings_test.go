package settings_test

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/settings"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// read reads a part of a file into what holds where the file is silent.
func read(t *testing.T, text string, into func(*yamlread.Reader, yamlread.Node)) error {
	t.Helper()
	r := yamlread.New("egress.yaml", nil)
	root, ok := r.Document([]byte(text), yamlread.Hints{})
	if !ok {
		t.Fatal(r.Err())
	}
	into(r, root)
	return r.Err()
}

func TestDefaults(t *testing.T) {
	if got, want := settings.DefaultDNS(), (settings.DNS{
		AnswerUnion: true, Types: []uint16{1, 28, 65, 64, 5, 12}, StaleFor: 15 * time.Minute, MaxAliases: 16, DistinctNamesPerMinute: 1000,
	}); !reflect.DeepEqual(got, want) {
		t.Errorf("dns: %+v", got)
	}
	if got, want := settings.DefaultLimits(), (settings.Limits{
		Tunnels: 20000, TunnelsPerFunction: 5000, Unidentified: 4096, HeaderTimeout: 10 * time.Second, HeaderBytes: 16384, DialTimeout: 5 * time.Second,
		HelloTimeout: 5 * time.Second, IdleTimeout: 330 * time.Second, Lifetime: 12 * time.Hour, Drain: 110 * time.Second, RefusalRecords: 6000,
	}); got != want {
		t.Errorf("limits: %+v", got)
	}
}

func TestDNSIsWhatTheFileSays(t *testing.T) {
	for text, change := range map[string]func(*settings.DNS){
		`{}`: func(*settings.DNS) {},
		`upstreams: [10.0.0.2, "10.0.0.3:5353", "::ffff:10.0.0.4", "[2001:db8::53]:54", "fe80::53%eth0"]`: func(d *settings.DNS) {
			for _, s := range []string{"10.0.0.2:53", "10.0.0.3:5353", "10.0.0.4:53", "[2001:db8::53]:54", "[fe80::53%eth0]:53"} {
				d.Upstreams = append(d.Upstreams, netip.MustParseAddrPort(s))
			}
		},
		`refuse_with: nodata`:            func(d *settings.DNS) { d.RefuseWith = settings.NoData },
		`families: both`:                 func(d *settings.DNS) { d.Families = settings.FamiliesBoth },
		`clients: [10.0.0.0/8]`:          func(d *settings.DNS) { d.Clients = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} },
		`unknown: refuse`:                func(d *settings.DNS) { d.AnswerUnion = false },
		`unknown: union`:                 func(*settings.DNS) {},
		`types: [CAA, A]`:                func(d *settings.DNS) { d.Types = []uint16{257, 1} },
		`types: []`:                      func(d *settings.DNS) { d.Types = []uint16{} },
		`record: all`:                    func(d *settings.DNS) { d.RecordAll = true },
		`record: refused`:                func(*settings.DNS) {},
		`stale_for: 0s`:                  func(d *settings.DNS) { d.StaleFor = 0 },
		`stale_for: 168h`:                func(d *settings.DNS) { d.StaleFor = 168 * time.Hour },
		`max_aliases: 64`:                func(d *settings.DNS) { d.MaxAliases = 64 },
		`distinct_names_per_minute: 123`: func(d *settings.DNS) { d.DistinctNamesPerMinute = 123 },
	} {
		got, want := settings.DefaultDNS(), settings.DefaultDNS()
		change(&want)
		if err := read(t, text, got.Read); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

func TestWhatIsWrongWithDNSIsNamed(t *testing.T) {
	for text, want := range map[string]string{
		`upstreams: [resolver.example]`: `upstreams[0]: "resolver.example" is not the address of a DNS server`,
		`upstreams: ["10.0.0.2:0"]`:     `upstreams[0]: "10.0.0.2:0" is not the address of a DNS server`,
		`upstreams: ["0.0.0.0:53"]`:     `upstreams[0]: "0.0.0.0:53" is not the address of a DNS server`,
		`upstreams: ["::"]`:             `upstreams[0]: "::" is not the address of a DNS server`,
		`upstreams: [[10.0.0.2]]`:       `upstreams[0]: it is a list; write an address such as 10.0.0.2`,
		`stale_for: 168h0m1s`:           `stale_for: 168h0m1s is more than 168h0m0s`,
		`stale_for: [0s]`:               `stale_for: it is a list; write a duration such as 15m`,
		`max_aliases: 65`:               `max_aliases: 65 is not within 1-64`,
		`max_aliases: 0`:                `max_aliases: 0 is not within 1-64`,
	} {
		d, was := settings.DefaultDNS(), settings.DefaultDNS()
		err := read(t, text, d.Read)
		if err == nil || !strings.Contains(err.Error(), "egress.yaml:1: "+want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", text, err)
		}
		if d.MaxAliases != was.MaxAliases || len(d.Upstreams) != 0 || strings.Contains(text, "[0s]") && d.StaleFor != was.StaleFor {
			t.Errorf("%s is taken: %+v", text, d)
		}
	}
}

func TestLimitsAreWhatTheFileSays(t *testing.T) {
	for text, change := range map[string]func(*settings.Limits){
		`{}`: func(*settings.Limits) {},
		`{header_timeout: 1s, dial_timeout: 2s, hello_timeout: 3s, idle_timeout: 4m, lifetime: 5h, drain: 6s, header_bytes: 64KB, refusal_records: 7}`: func(l *settings.Limits) {
			l.HeaderTimeout, l.DialTimeout, l.HelloTimeout, l.IdleTimeout = time.Second, 2*time.Second, 3*time.Second, 4*time.Minute
			l.Lifetime, l.Drain, l.HeaderBytes, l.RefusalRecords = 5*time.Hour, 6*time.Second, 64000, 7
		},
		`unidentified: 9`: func(l *settings.Limits) { l.Unidentified, l.HasUnidentified = 9, true },
		`tunnels: 5001`:   func(l *settings.Limits) { l.Tunnels, l.HasTunnels = 5001, true },
		`tunnels: 4999`:   func(l *settings.Limits) { l.Tunnels, l.TunnelsPerFunction, l.HasTunnels = 4999, 4999, true },
		`{tunnels: 8, tunnels_per_function: 8}`: func(l *settings.Limits) {
			l.Tunnels, l.TunnelsPerFunction, l.HasTunnels, l.HasTunnelsPerFunction = 8, 8, true, true
		},
		`tunnels_per_function: 20000`: func(l *settings.Limits) { l.TunnelsPerFunction, l.HasTunnelsPerFunction = 20000, true },
	} {
		got, want := settings.DefaultLimits(), settings.DefaultLimits()
		change(&want)
		if err := read(t, text, got.Read); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

func TestOneFunctionMayNotHaveMoreTunnelsThanThereAre(t *testing.T) {
	for text, want := range map[string]string{
		`{tunnels: 8, tunnels_per_function: 9}`: `tunnels_per_function: 9 is more than limits.tunnels (8)`,
		`tunnels_per_function: 20001`:           `tunnels_per_function: 20001 is more than limits.tunnels (20000)`,
	} {
		l := settings.DefaultLimits()
		if err := read(t, text, l.Read); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestRecordsGoToStandardOutputOrToAFile(t *testing.T) {
	for text, want := range map[string]settings.Audit{
		`{}`:                      {},
		`output: stdout`:          {},
		`output: out.jsonl`:       {Output: "out.jsonl"},
		`output: /var/out.jsonl`:  {Output: "/var/out.jsonl"},
		`on_failure: count`:       {CountLoss: true},
		`on_failure: refuse`:      {},
		`output: ""`:              {},
		`output: stderr`:          {},
		`output: "-"`:             {},
		`output: {file: a.jsonl}`: {},
	} {
		var got settings.Audit
		err := read(t, text, got.Read)
		if bad := strings.ContainsAny(text, `"`) || strings.Contains(text, "stderr") || strings.Contains(text, "file:"); got != want || (err != nil) != bad {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

// The zero words are the defaults, and what no word is for is not another one.
func TestWordsAreThoseOfTheFile(t *testing.T) {
	for value, want := range map[settings.Refusal]string{settings.NXDomain: "nxdomain", settings.Refused: "refused", settings.NoData: "nodata", 3: "nxdomain", 255: "nxdomain"} {
		if got := value.String(); got != want {
			t.Errorf("refusal %d is %s, want %s", value, got, want)
		}
	}
	for value, want := range map[settings.Families]string{
		settings.FamiliesAuto: "auto", settings.FamiliesIP4: "ip4", settings.FamiliesIP6: "ip6", settings.FamiliesBoth: "both", 4: "auto", 255: "auto",
	} {
		if got := value.String(); got != want {
			t.Errorf("families %d is %s, want %s", value, got, want)
		}
	}
}
