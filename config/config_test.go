package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/settings"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/attest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// problemLine is the form of every problem.
var problemLine = regexp.MustCompile(`^[^:\n]+:[1-9][0-9]*: ([^":\n]|"[^"\n]*")+: [^\n]+$`)

// openIn opens files of a folder, and the certificates that are in none.
func openIn(tb testing.TB, folder string) func(string) ([]byte, error) {
	tb.Helper()
	certificate, key := egresstest.PEM(tb, egresstest.SelfSigned(tb, "proxy"))
	return func(path string) ([]byte, error) {
		switch path {
		case "tls.crt":
			return certificate, nil
		case "tls.key":
			return key, nil
		case "clients.pem":
			return certificate, nil
		}
		return os.ReadFile(filepath.Join(folder, path))
	}
}

// full is the file with every key.
func full(tb testing.TB) (*Config, []byte) {
	tb.Helper()
	data, err := os.ReadFile("testdata/good/full.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	cfg, err := Parse("full.yaml", data, openIn(tb, "testdata/good"))
	if err != nil {
		tb.Fatal(err)
	}
	return cfg, data
}

// parse parses a file that must be valid and stand alone.
func parse(tb testing.TB, data string) *Config {
	tb.Helper()
	cfg, err := Parse("egress.yaml", []byte(data), nil)
	if err != nil {
		tb.Fatal(err)
	}
	return cfg
}

const minimal = "version: 1\nfunctions: {a: {identify: {sources: [10.0.0.0/8]}, allow: []}}\n"

// comparers let cmp look into the values that have no exported fields.
var comparers = cmp.Options{
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b hostname.Pattern) bool { return a == b }),
}

func day(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }

func prefixes(list ...string) (all []netip.Prefix) {
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func pat(tb testing.TB, s string) hostname.Pattern {
	tb.Helper()
	p, err := hostname.ParsePattern(s)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestEveryKeyBecomesATypedValue(t *testing.T) {
	cfg, _ := full(t)
	tls := cfg.Listen.TLS
	if tls == nil || tls.Address.String() != "0.0.0.0:3129" || len(tls.Certificate.Certificate) != 1 || tls.ClientCA == nil {
		t.Errorf("listen.tls = %+v", tls)
	}
	cfg.Listen.TLS = nil
	check := func(what string, want, got any) {
		t.Helper()
		if diff := cmp.Diff(want, got, comparers); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	check("listen", Listen{
		Proxy:             netip.MustParseAddrPort("0.0.0.0:3128"),
		DNS:               netip.MustParseAddrPort("0.0.0.0:53"),
		Admin:             netip.MustParseAddrPort("127.0.0.1:9090"),
		ProxyProtocolFrom: prefixes("10.0.1.0/24", "10.0.2.0/24"),
	}, cfg.Listen)
	check("deny", []policy.DenySpec{{Pattern: pat(t, "*.pastebin.com"), Line: 16}, {Pattern: pat(t, "*.com.evil.example"), Line: 17}}, cfg.Deny)
	check("sets", []Set{
		{Name: "aws-eu-west-1", Line: 20, Patterns: []hostname.Pattern{pat(t, "sqs.eu-west-1.amazonaws.com"), pat(t, "secretsmanager.eu-west-1.amazonaws.com")}},
		{Name: "partners", Line: 23, Patterns: []hostname.Pattern{pat(t, "partner-one.example"), pat(t, "*.partner-two.example"), pat(t, "*.github.io")}},
		{Name: "nobody", Line: 24},
		{Name: "databases", Line: 25, Patterns: []hostname.Pattern{pat(t, ".db.example.com")}},
	}, cfg.Sets)
	check("dns", settings.DNS{
		Upstreams: []netip.AddrPort{
			netip.MustParseAddrPort("10.0.0.2:53"), netip.MustParseAddrPort("10.0.0.3:5353"), netip.MustParseAddrPort("[2001:db8::53]:53"),
			netip.MustParseAddrPort("[fe80::53%eth0]:53"),
		},
		RefuseWith: settings.Refused, Families: settings.FamiliesIP4, Clients: prefixes("10.0.0.0/8"), RecordAll: true,
		Types: []uint16{1, 28, 16}, StaleFor: time.Hour, MaxAliases: 20, DistinctNamesPerMinute: 50,
	}, cfg.DNS)
	check("limits", settings.Limits{
		Tunnels: 1000, TunnelsPerFunction: 500, Unidentified: 64, HeaderTimeout: time.Second, HeaderBytes: 64000,
		DialTimeout: 2 * time.Second, HelloTimeout: 3 * time.Second, IdleTimeout: 4 * time.Minute, Lifetime: 5 * time.Hour, Drain: 6 * time.Second,
		RefusalRecords: 700, HasTunnels: true, HasTunnelsPerFunction: true, HasUnidentified: true,
	}, cfg.Limits)
	if k := cfg.AWS.Accounts[0].Keys; k.Find("RSA_1") == nil || k.Find("EC384_1") == nil || k.Len() != 2 {
		t.Errorf("keys = %+v", k)
	}
	cfg.AWS.Accounts[0].Keys = nil
	check("aws", &attest.Trust{
		Audience: "https://egress.example.internal", Algorithms: []string{"RS256", "ES384"}, MaxLifetime: 10 * time.Minute,
		Accounts: []attest.Account{
			{ID: "111122223333", Issuer: "https://3f7d2c1e-0000-4000-8000-000000000000.tokens.sts.global.api.aws", Organization: "o-abc"},
			{ID: "444455556666", Issuer: "http://127.0.0.1:8080"},
		},
	}, cfg.AWS)
	check("deny_principals", []string{"arn:aws:lambda:eu-west-1:111122223333:function:stolen", "arn:aws:iam::444455556666:*"}, cfg.DenyPrincipals)
	check("deny_tokens", []string{"6f1c2a5e-2d2b-4a5b-9d67-0f6f3d1f8e10"}, cfg.DenyTokens)
	check("audit", settings.Audit{Output: "audit.jsonl", CountLoss: true}, cfg.Audit)
}

func TestFunctionsBecomeTypedValues(t *testing.T) {
	cfg, _ := full(t)
	short := &policy.Conditions{Ports: hostname.Ports(443)}
	want := []Function{
		{
			Name: "billing-webhook", Owner: "payments-team", Line: 28,
			Identify: identity.Entry{
				Function:     "billing-webhook",
				Tokens:       []identity.Token{[32]byte(bytes.Repeat([]byte{0xab}, 32)), [32]byte(bytes.Repeat([]byte{0xcd}, 32))},
				Certificates: []string{"billing-webhook.internal", "spiffe://corp/billing"},
				Sources:      prefixes("10.0.12.0/24"),
			},
			Allow: []policy.RuleSpec{
				{Line: 38, Pattern: pat(t, "api.stripe.com"), Conditions: short},
				{Line: 39, Set: 1, Conditions: short},
				{Line: 40, Pattern: pat(t, "*.example.org"), Conditions: &policy.Conditions{Ports: hostname.Ports(443, 8443), Expires: day(2027, 2, 1), Ticket: "SEC-1234"}},
				{Line: 45, Pattern: pat(t, "legacy.corp.example"), Conditions: &policy.Conditions{Ports: hostname.Ports(5432), TLS: policy.TLSAny, Addresses: prefixes("10.1.0.0/16")}},
				{Line: 49, Prefix: netip.MustParsePrefix("203.0.113.0/24"), Conditions: &policy.Conditions{Ports: hostname.Ports(443), TLS: policy.TLSAny}},
				{Line: 52, Set: 2, Conditions: short},
				{Line: 54, Pattern: pat(t, "*.s3.amazonaws.com"), Conditions: short},
				{Line: 56, Pattern: pat(t, "hooks.example.net"), Conditions: short},
				{Line: 57, Pattern: pat(t, "xn--bcher-kva.example"), Conditions: short},
				{Line: 58, Set: 4, Conditions: &policy.Conditions{Ports: []hostname.PortRange{hostname.Port(5432), {First: 8000, Last: 8010}}}},
				{Line: 59, Set: 4, Conditions: &policy.Conditions{Ports: hostname.Ports(6432), TLS: policy.TLSAny}},
				{Line: 60, Pattern: pat(t, ".example.com"), Conditions: short},
			},
		},
		{
			Name: "nightly-report", Line: 61, ReportUntil: day(2027, 4, 1),
			Identify: identity.Entry{Function: "nightly-report", Sources: prefixes("10.0.40.0/24")},
		},
	}
	if diff := cmp.Diff(want, cfg.Functions, comparers); diff != "" {
		t.Errorf("functions (-want +got):\n%s", diff)
	}
	allow := cfg.Functions[0].Allow
	if allow[0].Conditions != allow[1].Conditions || allow[0].Conditions != allow[8].Conditions {
		t.Error("rules with equal conditions do not share them")
	}
}

// An unknown key makes the reader list the keys that there are. Each of them
// occurs in full.yaml, so that the example cannot fall behind the format.
func TestTheFullExampleHasEveryKey(t *testing.T) {
	cfg, data := full(t)
	if len(cfg.Functions) != 2 {
		t.Fatalf("%d functions", len(cfg.Functions))
	}
	const bad = `qqqqqqqq: 1
listen: {qqqqqqqq: 1, tls: {qqqqqqqq: 1}}
sets: {s: {qqqqqqqq: 1}}
functions: {f: {qqqqqqqq: 1, identify: {qqqqqqqq: 1}, allow: [{qqqqqqqq: 1}]}}
aws: {qqqqqqqq: 1, accounts: {"111122223333": {qqqqqqqq: 1}}}
dns: {qqqqqqqq: 1}
limits: {qqqqqqqq: 1}
audit: {qqqqqqqq: 1}
`
	var problems *Error
	if _, err := Parse("bad.yaml", []byte(bad), nil); !errors.As(err, &problems) {
		t.Fatal(err)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		t.Fatal(err)
	}
	present := map[string]bool{}
	collectKeys(root.Content[0], present)
	objects := 0
	for _, p := range problems.Problems {
		_, list, ok := strings.Cut(p.Text, "no such key; write one of ")
		if !ok {
			continue
		}
		objects++
		if strings.HasPrefix(p.Key, "functions.f.identify.") {
			continue // TestEveryMethodHasItsKeyOfIdentify has those, and docs/identities.md shows them
		}
		for key := range strings.SplitSeq(list, ", ") {
			if !present[key] {
				t.Errorf("%s: full.yaml has no key %q", p.Key, key)
			}
		}
	}
	if objects != 12 {
		t.Errorf("%d objects listed their keys, want 12:\n%v", objects, problems)
	}
}

// collectKeys gathers every key below a node.
func collectKeys(n *yaml.Node, keys map[string]bool) {
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			keys[child.Value] = true
		}
		collectKeys(child, keys)
	}
}

func TestDefaults(t *testing.T) {
	cfg := parse(t, minimal)
	for _, tt := range []struct {
		what      string
		want, got any
	}{
		{"listen", Listen{Proxy: netip.MustParseAddrPort("127.0.0.1:3128"), Admin: netip.MustParseAddrPort("127.0.0.1:9090")}, cfg.Listen},
		{"deny", []policy.DenySpec(nil), cfg.Deny},
		{"dns", settings.DNS{AnswerUnion: true, Types: []uint16{1, 28, 65, 64, 5, 12}, StaleFor: 15 * time.Minute, MaxAliases: 16, DistinctNamesPerMinute: 1000}, cfg.DNS},
		{"limits", settings.Limits{
			Tunnels: 20000, TunnelsPerFunction: 5000, Unidentified: 4096, HeaderTimeout: 10 * time.Second, HeaderBytes: 16384,
			DialTimeout: 5 * time.Second, HelloTimeout: 5 * time.Second, IdleTimeout: 330 * time.Second, Lifetime: 12 * time.Hour, Drain: 110 * time.Second,
			RefusalRecords: 6000,
		}, cfg.Limits},
		{"audit", settings.Audit{}, cfg.Audit},
	} {
		if diff := cmp.Diff(tt.want, tt.got, comparers); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.what, diff)
		}
	}
	if cfg.DNS.RefuseWith.String() != "nxdomain" || cfg.DNS.Families.String() != "auto" {
		t.Error("the default words are not the first ones")
	}
}

func TestWhatIsValid(t *testing.T) {
	const f = "version: 1\nfunctions: {a: {identify: {sources: [10.0.0.0/8]}, allow: %s}}\n"
	for sentence, data := range map[string]string{
		"a set that nobody uses":              minimal + "sets: {s: [a.example.com]}\n",
		"a set that is empty":                 minimal + "sets: {s: []}\n",
		"a wide set that nobody uses":         minimal + "sets: {s: ['*.github.io']}\n",
		"a deny list as wide as it likes":     minimal + "deny: ['*.com', '*.github.io', '*.zip']\n",
		"a rule that has expired":             fmt.Sprintf(f, "[{host: a.example.com, expires: 2001-01-01}]"),
		"a report mode that is over":          "version: 1\nfunctions: {a: {mode: report, report_until: 2001-01-01, identify: {sources: [10.0.0.0/8]}, allow: []}}\n",
		"a wildcard with ports":               fmt.Sprintf(f, "[{host: '*.example.com', ports: [1, 65535]}]"),
		"one pattern twice":                   fmt.Sprintf(f, "[a.example.com, a.example.com]"),
		"one range within another":            "version: 1\nfunctions: {a: {identify: {sources: [10.0.0.0/8]}, allow: []}, b: {identify: {sources: [10.0.0.0/9]}, allow: []}}\n",
		"a list that an anchor shares":        "version: 1\nfunctions: {a: {identify: {sources: [10.0.0.0/8]}, allow: &l [a.example.com]}, b: {identify: {sources: [10.0.0.0/9]}, allow: *l}}\n",
		"a name that looks like a number":     "version: 1\nfunctions: {123: {identify: {sources: [10.0.0.0/8]}, allow: []}}\n",
		"listeners on a port of the kernel's": minimal + "listen: {proxy: '127.0.0.1:0', admin: '127.0.0.1:0'}\n",
		"one port on two addresses":           minimal + "listen: {proxy: '127.0.0.1:3128', admin: '127.0.0.2:3128'}\n",
		"no DNS filter":                       minimal + "listen: {dns: ''}\n",
		"carriage returns before line feeds":  strings.ReplaceAll(minimal, "\n", "\r\n"),
		"no line feed at the end":             strings.TrimSuffix(minimal, "\n"),
		"an explicit beginning":               "---\n" + minimal,
	} {
		if _, err := Parse("egress.yaml", []byte(data), nil); err != nil {
			t.Errorf("%s: %v", sentence, err)
		}
	}
}

func TestFewerTunnelsLowerTheDefaultForOneFunction(t *testing.T) {
	if got := parse(t, minimal+"limits: {tunnels: 7}\n").Limits.TunnelsPerFunction; got != 7 {
		t.Errorf("TunnelsPerFunction = %d, want 7", got)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int{"16KiB": 16384, "64KB": 64000, "512": 512, "512B": 512, "1MiB": 1 << 20, "2MB": 2000000, "16 KiB": 16384} {
		if got := parse(t, minimal+"limits: {header_bytes: "+text+"}\n").Limits.HeaderBytes; got != want {
			t.Errorf("%s = %d, want %d", text, got, want)
		}
	}
}

func TestTheEnvironmentChangesNothing(t *testing.T) {
	t.Setenv("OWNER", "someone")
	cfg := parse(t, "version: 1\nfunctions: {a: {owner: '${OWNER} $OWNER', identify: {sources: [10.0.0.0/8]}, allow: []}}\n")
	if got := cfg.Functions[0].Owner; got != "${OWNER} $OWNER" {
		t.Errorf("owner = %q", got)
	}
}

func TestHashIsOfTheFileAndItsSets(t *testing.T) {
	cfg, data := full(t)
	list, err := os.ReadFile("testdata/good/partners.txt")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(append(slices.Clip(data), list...))
	if want := hex.EncodeToString(sum[:])[:12]; cfg.Hash() != want {
		t.Errorf("Hash = %s, want %s", cfg.Hash(), want)
	}
}

// Who watches the files looks at them first, so what is read is never older.
func TestEveryFileIsToldBeforeItIsRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "egress.yaml")
	texts := map[string]string{path: minimal + "sets: {s: {file: list.txt}}\n", filepath.Join(dir, "list.txt"): "one.example\n"}
	_, err := LoadWatched(path, func(path string) {
		if err := os.WriteFile(path, []byte(texts[path]), 0o600); err != nil {
			t.Error(err)
		}
		delete(texts, path)
	})
	if err != nil || len(texts) > 0 {
		t.Errorf("%v; not told: %v", err, texts)
	}
}

func TestFilesAreFoundBesideTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	list := write("list.txt", "one.example\n")
	path := write("egress.yaml", minimal+"sets: {s: {file: list.txt}, same: {file: list.txt}}\naudit: {output: out.jsonl}\n")
	var read []string
	cfg, err := LoadWatched(path, func(path string) { read = append(read, path) })
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(read, []string{path, list}) || cfg.Audit.Output != filepath.Join(dir, "out.jsonl") {
		t.Errorf("read %v, Output = %s", read, cfg.Audit.Output)
	}
	before := cfg.Hash()
	write("list.txt", "two.example\n")
	if cfg, err = Load(path); err != nil || cfg.Hash() == before {
		t.Errorf("a changed set leaves the hash at %s, %v", before, err)
	}
	write("list.txt", "two..example\n")
	if _, err = Load(path); err == nil || !strings.HasPrefix(err.Error(), list+":1: sets.s.file: ") {
		t.Errorf("error %v does not name %s:1", err, list)
	}
}

// The whole way: what the file says is what the policy decides.
func TestCompiledPolicyDecidesAsTheFileSays(t *testing.T) {
	cfg, _ := full(t)
	pol, table, err := cfg.Compile()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2027, 1, 31, 23, 59, 59, 0, time.UTC)
	for _, tt := range []struct {
		function, target string
		at               time.Time
		want             verdict.Verdict
		rule             string
	}{
		{"billing-webhook", "api.stripe.com:443", now, verdict.Allow, "functions.billing-webhook.allow[0]"},
		{"billing-webhook", "api.stripe.com:80", now, verdict.Deny, "functions.billing-webhook.allow[0]"},
		{"billing-webhook", "sqs.eu-west-1.amazonaws.com:443", now, verdict.Allow, "functions.billing-webhook.allow[1]"},
		{"billing-webhook", "a.example.org:8443", now, verdict.Allow, "functions.billing-webhook.allow[2]"},
		{"billing-webhook", "a.example.org:8443", now.Add(time.Second), verdict.Deny, "functions.billing-webhook.allow[2]"},
		{"billing-webhook", "203.0.113.9:443", now, verdict.Allow, "functions.billing-webhook.allow[4]"},
		{"billing-webhook", "partner-one.example:443", now, verdict.Allow, "functions.billing-webhook.allow[5]"},
		{"billing-webhook", "x.pastebin.com:443", now, verdict.Deny, "deny[0]"},
		{"billing-webhook", "evil.example:443", now, verdict.Deny, ""},
		{"nightly-report", "evil.example:443", day(2027, 3, 31), verdict.Report, ""},
		{"nightly-report", "evil.example:443", day(2027, 4, 1), verdict.Deny, ""},
	} {
		target, err := hostname.ParseTarget(tt.target)
		if err != nil {
			t.Fatal(err)
		}
		d := pol.Decide(pol.Function(tt.function), target, tt.at)
		if d.Verdict != tt.want || d.Rule.String() != tt.rule {
			t.Errorf("%s to %s at %s: %s by %q, want %s by %q", tt.function, tt.target, tt.at, d.Verdict, d.Rule, tt.want, tt.rule)
		}
	}
	id, err := table.Identify(identity.Caller{Source: netip.MustParseAddr("10.0.40.9")})
	if err != nil || id.Function != "nightly-report" || pol.Hash() != cfg.Hash() {
		t.Errorf("Identify = %+v, %v; hash %s of %s", id, err, pol.Hash(), cfg.Hash())
	}
}

func TestQuickstartWorksAsItsCommentsSay(t *testing.T) {
	cfg := parse(t, string(Quickstart()))
	pol, table, err := cfg.Compile()
	if err != nil {
		t.Fatal(err)
	}
	cred, err := identity.ParseAuthorization("Basic ZGVtbzpkZW1v") // demo:demo
	if err != nil {
		t.Fatal(err)
	}
	if id, err := table.Identify(identity.Caller{Credential: cred}); err != nil || id.Function != "demo" {
		t.Errorf("demo:demo is %+v, %v", id, err)
	}
	if !cfg.Listen.Proxy.Addr().IsLoopback() || !cfg.Listen.Admin.Addr().IsLoopback() || cfg.Audit != (settings.Audit{}) {
		t.Errorf("listen %+v, audit %+v", cfg.Listen, cfg.Audit)
	}
	for target, want := range map[string]verdict.Verdict{
		"example.com:443": verdict.Allow, "www.example.org:80": verdict.Allow,
		"example.org:443": verdict.Deny, "evil.example:443": verdict.Deny, "x.pastebin.com:443": verdict.Deny,
	} {
		parsed, err := hostname.ParseTarget(target)
		if err != nil {
			t.Fatal(err)
		}
		if d := pol.Decide(pol.Function("demo"), parsed, time.Now()); d.Verdict != want {
			t.Errorf("%s: %s, want %s", target, d.Verdict, want)
		}
	}
}

// A method without a key in the file could identify nobody.
func TestEveryMethodHasItsKeyOfIdentify(t *testing.T) {
	for _, m := range identity.Methods() {
		var problems *Error
		text := "version: 1\nfunctions: {f: {identify: {" + m.Key() + ": 7}, allow: []}}\n"
		if _, err := Parse("f.yaml", []byte(text), nil); !errors.As(err, &problems) {
			t.Fatalf("identify.%s: 7 is no error: %v", m.Key(), err)
		}
		if want := "functions.f.identify." + m.Key(); problems.Problems[0].Key != want || strings.Contains(problems.Error(), "no such key") {
			t.Errorf("%s is not read: %v", want, problems)
		}
	}
}
