package squid_test

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert/squid"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// real is a list as people have them: the usual preamble, two callers, one within the other,
// names that are taken out of a wildcard, and rules behind each other.
const real = `acl billing src 127.0.1.0/24
acl localnet src 127.0.0.0/8
acl SSL_ports port 443
acl SSL_ports port 8000-8010	# partners
acl Safe_ports port 80		# http
acl Safe_ports port 443 1025-65535
acl pay dstdomain -n .stripe.test api.bank.test
acl bad dstdomain -n evil.stripe.test .worse.stripe.test
acl common dstdomain -n status.test .ORG.test www.org.test
acl old dstdomain -n \
  legacy.test
acl oldport port 8001
http_access deny !Safe_ports
http_access deny CONNECT !SSL_ports
http_access deny manager
http_access deny to_localhost
http_access deny bad
http_access allow billing pay
http_access allow localnet common
http_access deny old !oldport
http_access allow billing old
http_access deny all
`

// The real Squid and the policy say the same of a thousand targets, for callers of each kind.
func TestSquidAndThePolicyComeToTheSameVerdict(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("it calls from several addresses of 127.0.0.0/8, which Linux alone has by itself")
	}
	p := load(t, real, squid.Options{ConnectOnly: true})
	// It neither resolves nor connects: what it allows it cannot forward, and says so. For
	// to_localhost it would resolve each name.
	addr := egresstest.Squid(t, strings.Replace(real, "http_access deny to_localhost\n", "", 1)+"never_direct allow all\ndns_nameservers 127.0.0.1")
	random := rand.New(rand.NewPCG(3, 4))
	names := []string{"stripe.test", "api.stripe.test", "evil.stripe.test", "x.evil.stripe.test", "worse.stripe.test", "x.worse.stripe.test", "api.bank.test", "x.api.bank.test",
		"bank.test", "status.test", "x.status.test", "org.test", "www.org.test", "a.b.org.test", "legacy.test", "legacy.test", "other.test", "WWW.Org.Test", "xstripe.test"}
	ports := []int{443, 443, 443, 80, 8000, 8001, 8010, 8011, 22, 1025}
	allowed := 0
	for range 1000 {
		target := fmt.Sprintf("%s:%d", names[random.IntN(len(names))], ports[random.IntN(len(ports))])
		source := netip.AddrFrom4([4]byte{127, 0, byte(random.IntN(3)), byte(1 + random.IntN(9))})
		got, want := p.decide(t, source, target), asked(t, addr, source, target)
		if got != want {
			t.Errorf("%s for %s: allowed %t, by Squid %t", target, source, got, want)
		}
		if want {
			allowed++
		}
	}
	if allowed < 100 || allowed > 900 {
		t.Errorf("Squid allowed %d of 1000: the test says little", allowed)
	}
}

// asked asks Squid by CONNECT, from an address of this machine.
func asked(t *testing.T, proxy string, source netip.Addr, target string) (allowed bool) {
	t.Helper()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0)), Timeout: egresstest.Timeout}
	conn, err := d.DialContext(t.Context(), "tcp", proxy)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(egresstest.Timeout))
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", target)
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: "CONNECT"})
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusForbidden:
		return false
	case http.StatusServiceUnavailable, http.StatusInternalServerError:
		return true
	default:
		t.Fatalf("Squid answers %s to %s", resp.Status, target)
		return false
	}
}

func TestWhatNoPolicySaysIsNamedWithItsLine(t *testing.T) {
	const head = "acl a dstdomain -n a.example .b.example\nacl in src 10.0.0.0/8\nacl out src 10.1.0.0/16\nacl web port 443\n"
	const tail = "\nhttp_access deny all\n"
	for _, c := range []struct{ conf, want string }{
		{"acl r url_regex -i .*\nhttp_access allow r" + tail, `conf:1: acl r: the flag "-i" is not known here`},
		{"acl r url_regex .*\nhttp_access allow r" + tail, `conf:1: acl r: no policy says what a list of the type "url_regex" does`},
		{"acl r dstdom_regex example\nhttp_access allow r" + tail, `the type "dstdom_regex"`},
		{"acl r time 9:00-17:00\nhttp_access allow r" + tail, `the type "time"`},
		{"acl r proxy_auth REQUIRED\nhttp_access allow r" + tail, `the type "proxy_auth"`},
		{"acl d dstdomain .a.example\nhttp_access allow d" + tail, "conf:1: acl d: without -n Squid also allows addresses"},
		{"acl d dstdomain -n *.a.example\nhttp_access allow d" + tail, `conf:1: acl d: "*.a.example" is a name with an asterisk`},
		{"acl d dstdomain -n .com\nhttp_access allow d web" + tail, `there is no list "web" above it`},
		{"acl d dstdomain -n .com\nhttp_access allow d" + tail, `conf:1: acl: "*.com" covers every name of a public registry`},
		{"acl d dstdomain -n 10.0.0.1\nhttp_access allow d" + tail, `conf:1: acl d: "10.0.0.1" is an address`},
		{"acl s src 10.0.0.1-10.0.0.9\nhttp_access allow s" + tail, `conf:1: acl s: "10.0.0.1-10.0.0.9" is no range of addresses`},
		{"acl s src 10.0.0.1/8\nhttp_access allow s" + tail, `"10.0.0.1/8" is no range of addresses`},
		{"acl p port http\nhttp_access allow p" + tail, `conf:1: acl p: "http" is neither a port`},
		{"acl m method GET\nhttp_access allow m" + tail, "conf:1: acl m: a policy knows no methods"},
		{"acl m src 10.0.0.1\nacl m port 80\nhttp_access allow m" + tail, "conf:2: acl m: it is there already, of another type"},
		{head + "http_access allow a CONNECT" + tail, "conf:5: http_access: it makes a difference between CONNECT and other methods"},
		{head + "http_access allow in" + tail, "conf:5: http_access: it allows in every host but those that are denied"},
		{head + "http_access deny a", "conf:5: http_access: it allows everybody every host"}, // the opposite of the last one
		{head + "http_access allow manager" + tail, "conf:5: http_access: manager is about paths"},
		{head + "http_access deny !to_localhost" + tail, "conf:5: http_access: to_localhost is known in a rule that denies it"},
		{head + "acl x dstdomain -n x.b.example\nhttp_access deny x out\nhttp_access allow in a" + tail, "conf:6: http_access: it takes x.b.example out of a wildcard for some"},
		{head + "acl x dstdomain -n x.b.example\nhttp_access deny x web\nhttp_access allow in a" + tail, "conf:6: http_access: it takes x.b.example out of a wildcard for some"},
		{head + "url_rewrite_program /bin/x\nhttp_access allow in a" + tail, `conf:5: "url_rewrite_program": the directive is not known here`},
		{"acl a src 10.0.0.0/8\nacl b src 10.1.0.0/16\nacl a-b src 192.168.0.0/16\nacl d dstdomain -n d.example\nhttp_access allow a d\nhttp_access deny b a-b" + tail, "conf:3: acl a-b: two functions would have the name a-b"},
		{head + "acl everybody src 192.168.0.0/16\nhttp_access allow a everybody" + tail, "conf:6: acl everybody: two functions would have the name everybody"},
		{"acl a@b src 10.0.0.0/8\nhttp_access deny a@b" + tail, `conf:1: acl a@b: "a@b" cannot be the name of a function`},
		{head + "http_access permit a", "conf:5: http_access: it is no rule"},
		{head + "include /missing\nhttp_access allow in a" + tail, "conf:5: include: "},
		{"acl d dstdomain -n \"/missing\"\nhttp_access allow d" + tail, "conf:1: acl d: it is not there"},
		{"acl d dstdom_regex \"self\"\nhttp_access allow d" + tail, `conf:1: acl d: no policy says what a list of the type "dstdom_regex" does`},
		{head + "include *.conf\nhttp_access allow in a" + tail, `conf:5: include: "*.conf" is a pattern of files`},
		{head + "include self\nhttp_access allow in a" + tail, "files include each other 16 deep"},
		{head, "conf:1: file: it has no http_access"},
		{"acl a", "conf:1: acl: it has no name or no type"},
		{"http_access deny all \\\n", "conf:1: file: its last line goes on behind its end"},
	} {
		p, err := squid.Read("conf", []byte(c.conf), squid.Options{}, func(path string) ([]byte, error) {
			if path == "self" {
				return []byte("include self\n"), nil
			}
			return nil, errors.New("it is not there")
		})
		if p != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q:\n%v, want\n%s", c.conf, err, c.want)
		}
	}
}

func TestIncludedAndQuotedFilesAreRead(t *testing.T) {
	files := map[string]string{
		"dir/more":  "acl a dstdomain -n \"names\"\nacl in src 10.0.0.0/8",
		"dir/names": "# ours\na.example # one\n\n.b.example\n",
	}
	read := func(path string) ([]byte, error) { return []byte(files[path]), nil }
	p, err := squid.Read("dir/conf", []byte("include more\nhttp_access allow in a\nhttp_access deny all\n"), squid.Options{}, read)
	if err != nil || len(p.Functions) != 1 || len(p.Functions[0].Allow) != 2 || p.Functions[0].Allow[1].Pattern.String() != ".b.example" {
		t.Errorf("%v, %v", p, err)
	}
	files["dir/names"] = "a.example\na b"
	if _, err := squid.Read("dir/conf", []byte("include more\nhttp_access allow in a\n"), squid.Options{}, read); err == nil || !strings.Contains(err.Error(), "dir/names:2: acl a: ") {
		t.Errorf("%v", err)
	}
}

func TestEverybodyIsAFunctionWhereNoSourceIsAsked(t *testing.T) {
	p := load(t, "acl a dstdomain -n a.example\nhttp_access allow a\nhttp_access deny all\n", squid.Options{})
	for source, target := range map[string]string{"203.0.113.9": "a.example:22", "2001:db8::1": "a.example:443"} {
		if !p.decide(t, netip.MustParseAddr(source), target) {
			t.Errorf("%s is refused to %s", target, source)
		}
	}
	if p.decide(t, netip.MustParseAddr("203.0.113.9"), "b.example:443") {
		t.Error("b.example is allowed")
	}
}

func TestAnyNameMayBeInAList(t *testing.T) {
	long := strings.Repeat("x", 63) + ".example"
	p := load(t, "acl a dstdomain -n ."+long+"\nhttp_access allow a\nhttp_access deny all\n", squid.Options{})
	if from := netip.MustParseAddr("203.0.113.9"); !p.decide(t, from, long+":22") || !p.decide(t, from, "y."+long+":22") {
		t.Error("what lies below it is refused")
	}
}

// loaded is a policy that was converted, and who calls from where.
type loaded struct {
	policy    *policy.Policy
	functions []config.Function
}

// load converts and loads a configuration.
func load(t *testing.T, conf string, o squid.Options) *loaded {
	t.Helper()
	p, err := squid.Read("conf", []byte(conf), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := convert.Assemble(p, convert.Callers{Name: "callers"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("egress.yaml", data, nil)
	if err != nil {
		t.Fatal(err)
	}
	compiled, _, err := cfg.Compile()
	if err != nil {
		t.Fatal(err)
	}
	return &loaded{compiled, cfg.Functions}
}

// decide asks the policy for the function with the longest range that has the source.
func (p *loaded) decide(t *testing.T, source netip.Addr, target string) bool {
	t.Helper()
	at, err := hostname.ParseTarget(target)
	if err != nil {
		t.Fatal(err)
	}
	function, bits := "", -1
	for _, f := range p.functions {
		for _, s := range f.Identify.Sources {
			if s.Contains(source) && s.Bits() > bits {
				function, bits = f.Name, s.Bits()
			}
		}
	}
	f := p.policy.Function(function)
	return f != nil && p.policy.Decide(f, at, time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)).Verdict == verdict.Allow
}
