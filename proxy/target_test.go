package proxy_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// targetRig is a rig whose policy allows allowed.test and whose names all
// resolve, so that a lookup or a connection that must not happen is seen.
type targetRig struct {
	*rig
	origin  *origin
	judged  atomic.Int64 // addresses that were considered for a connection
	allowed string       // allowed.test with the origin's port
}

func newTargetRig(t *testing.T) *targetRig {
	t.Helper()
	r := &targetRig{origin: newOrigin(t, serveOK)}
	r.allowed = fmt.Sprintf("allowed.test:%d", r.origin.port)
	ports := []uint16{r.origin.port}
	r.rig = newRig(t, rigOptions{
		functions: []function{{name: "billing", rules: []rule{
			{host: "allowed.test", ports: ports, any: true, addresses: loopback},
			{host: "xn--bcher-kva.test", ports: ports, any: true, addresses: loopback},
		}}},
		options: func(o *proxy.Options) {
			o.Self = func(netip.AddrPort) bool { r.judged.Add(1); return false }
		},
	})
	for _, name := range []string{"allowed.test", "evil.test", "xn--bcher-kva.test", "allowed.test.evil.test", "evilallowed.test"} {
		r.resolves(name, "127.0.0.1")
	}
	return r
}

// untouched fails if anything was looked up, considered for a connection, or
// connected to.
func (r *targetRig) untouched() {
	r.t.Helper()
	if n := r.lookups.Load(); n != 0 {
		r.t.Errorf("%d lookups", n)
	}
	if n := r.judged.Load(); n != 0 {
		r.t.Errorf("%d addresses were considered", n)
	}
	if n := r.origin.accepted.Load(); n != 0 {
		r.t.Errorf("the origin saw %d connections", n)
	}
}

// absoluteAs returns a GET of the function for http://target/.
func absoluteAs(name, target string) string {
	return "GET http://" + target + "/ HTTP/1.1\r\nHost: allowed.test\r\n" + auth(name) + "\r\n"
}

// badAuthorities are not a host:port, whoever parses them.
var badAuthorities = []struct{ why, target string }{
	{"the port is empty", "allowed.test:"},
	{"the port is zero", "allowed.test:0"},
	{"the port is over 65535", "allowed.test:65536"},
	{"the port overflows 64 bits", "allowed.test:99999999999999999999"},
	{"the port wraps to 443 in 32 bits", "allowed.test:4294967739"},
	{"the port is negative", "allowed.test:-1"},
	{"the port has a sign", "allowed.test:+443"},
	{"the port has a leading zero", "allowed.test:0443"},
	{"the port is a service's name", "allowed.test:https"},
	{"the port ends in a letter", "allowed.test:443x"},
	{"there are two ports", "allowed.test:443:443"},
	{"there is a port alone", ":443"},
	{"there is another port alone", ":80"},
	{"the name has an empty last label", "allowed.test..:443"},
	{"the name has an empty first label", ".allowed.test:443"},
	{"the name has an empty middle label", "a..b:443"},
	{"a name stands in brackets", "[allowed.test]:443"},
	{"a name stands in two brackets", "[[allowed.test]]:443"},
	{"an IPv4 address stands in brackets", "[127.0.0.1]:443"},
	{"text stands before the bracket", "a[::1]:443"},
	{"two addresses stand in the brackets", "[::1,::1]:443"},
	{"text stands behind the bracket", "[::1]x:443"},
	{"the bracket is not closed", "[::1:443"},
	{"the address has a zone", "[fe80::1%25eth0]:443"},
	{"the zone is a name's end", "[::1%25.allowed.test]:443"},
	{"a space is escaped", "allowed.test%20:443"},
	{"a tab stands in the name", "allowed.test\t:443"},
	{"a vertical tab stands in the name", "allowed.test\v:443"},
	{"the dot is ideographic", "allowed。test:443"},
	{"the dot is fullwidth", "allowed．test:443"},
	{"the dot is halfwidth", "allowed｡test:443"},
	{"the ideographic dot is escaped", "allowed%E3%80%82test:443"},
	{"a letter is escaped", "%61llowed.test:443"},
	{"a letter is escaped twice", "%2561llowed.test:443"},
	{"the letters are fullwidth", "ａｌｌｏｗｅｄ.test:443"},
	{"a soft hyphen stands in the name", "allow\u00aded.test:443"},
	{"a zero width joiner stands in the name", "allow\u200ded.test:443"},
	{"a zero width non-joiner stands in the name", "allow\u200ced.test:443"},
	{"a letter is not ASCII", "straße.test:443"},
	{"an A-label decodes to ASCII", "xn--allowed-.test:443"},
	{"an A-label does not decode", "xn--zzzzzz99999.test:443"},
	{"an A-label is empty", "xn--.test:443"},
	{"there is userinfo", "user@allowed.test:443"},
	{"userinfo looks like the allowed host", "allowed.test:443@evil.test:443"},
	{"userinfo hides behind the allowed host", "evil.test:443@allowed.test:443"},
	{"the userinfo's mark is escaped", "allowed.test%40evil.test:443"},
	{"a NUL stands in the name", "allowed\x00.test:443"},
	{"a NUL ends the name", "allowed.test\x00.evil.test:443"},
	{"a CR stands in the name", "allowed\r.test:443"},
	{"a DEL stands in the name", "allowed\x7f.test:443"},
	{"a byte that is not UTF-8 stands in the name", "allowed\xff.test:443"},
	{"a label has 64 bytes", strings.Repeat("a", 64) + ".test:443"},
	{"the name has 254 bytes", strings.Repeat("a.", 126) + "ab:443"},
	{"a label is hyphens alone", "---.test:443"},
	{"a label begins with a hyphen", "-allowed.test:443"},
	{"a label ends with a hyphen", "allowed-.test:443"},
	{"the address is one number", "2130706433:443"},
	{"the address is hexadecimal", "0x7f000001:443"},
	{"the address is octal", "0177.0.0.1:443"},
	{"the address has two numbers", "127.1:443"},
	{"the address has five numbers", "1.2.3.4.5:443"},
	{"the address has a number over 255", "256.1.1.1:443"},
	{"the address has circled digits", "①②⑦.0.0.1:443"},
	{"the target has 7 KiB", strings.Repeat("a", 7<<10) + ":443"},
}

func TestWhatIsNoHostAndPortIsRefusedUnlooked(t *testing.T) {
	r := newTargetRig(t)
	for _, row := range badAuthorities {
		for _, form := range []struct{ name, raw string }{
			{"connect", connectAs("billing", row.target)},
			{"absolute", absoluteAs("billing", row.target)},
		} {
			t.Run(form.name+"/"+row.why, func(t *testing.T) {
				reason := "bad_target"
				if strings.ContainsAny(row.target, "\t\v\x00\r\x7f") {
					reason = "bad_request" // no control byte stands in a request line
				}
				r.refusedOnce(t, form.raw, 400, reason)
			})
		}
	}
	r.untouched()
}

func TestConnectTargetIsAuthorityFormAlone(t *testing.T) {
	r := newTargetRig(t)
	// goproxy would dial port 80 of whatever machine it runs on.
	canary := listenIfAllowed(t, "127.0.0.1:80", "127.0.0.1:443")
	for _, row := range []struct{ why, target string }{
		{"no port", "allowed.test"},
		{"a slash", "/"},
		{"an asterisk", "*"},
		{"a port alone", ":80"},
		{"an absolute URI", "http://allowed.test:443"},
		{"an absolute https URI", "https://allowed.test:443/"},
		{"a path", r.allowed + "/path"},
		{"a query", r.allowed + "?q"},
		{"a fragment", r.allowed + "#f"},
	} {
		t.Run(row.why, func(t *testing.T) { r.refusedOnce(t, connectAs("billing", row.target), 400, "bad_target") })
	}
	r.untouched()
	if n := canary(); n != 0 {
		t.Errorf("the loopback's own services saw %d connections", n)
	}
}

// listenIfAllowed counts the connections to addresses, as far as the machine
// lets a test listen there.
func listenIfAllowed(t *testing.T, addresses ...string) (count func() int64) {
	t.Helper()
	var n atomic.Int64
	for _, a := range addresses {
		ln, err := net.Listen("tcp", a)
		if err != nil {
			t.Logf("no canary at %s: %v", a, err)
			continue
		}
		t.Cleanup(func() { ln.Close() })
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				n.Add(1)
				c.Close()
			}
		}()
	}
	return n.Load
}

func TestAbsoluteTargetIsAnHTTPURLAlone(t *testing.T) {
	r := newTargetRig(t)
	for _, row := range []struct {
		why, target string
		status      int
		reason      string
	}{
		{"an authority", r.allowed, 400, "bad_target"},
		{"no scheme", "//" + r.allowed + "/", 400, "bad_target"},
		{"one slash", "http:/" + r.allowed + "/", 400, "bad_target"},
		{"no authority", "http:///x", 400, "bad_target"},
		{"no authority but a query", "http://?x", 400, "bad_target"},
		{"a backslash before the userinfo's mark", `http://evil.test\@` + r.allowed + "/", 400, "bad_target"},
		{"a backslash in the path", "http://" + r.allowed + `/\evil.test/`, 400, "bad_target"},
		{"userinfo", "http://allowed.test@evil.test/", 400, "bad_target"},
		{"an escaped userinfo's mark", "http://allowed.test%40evil.test/", 400, "bad_target"},
		{"an escaped line end in the host", "http://allowed.test%0d%0aX:1/", 400, "bad_target"},
		{"a fragment", "http://" + r.allowed + "/#f", 400, "bad_target"},
		{"a byte that is not ASCII in the path", "http://" + r.allowed + "/ä", 400, "bad_target"},
		{"an empty scheme", "://" + r.allowed + "/", 400, "bad_target"},
		{"a scheme with a mark", "ht^tp://" + r.allowed + "/", 400, "bad_target"},
		{"origin-form", "/", 400, "bad_request"},
		{"origin-form with a path", "/metrics", 400, "bad_request"},
		{"the asterisk", "*", 400, "bad_request"},
		{"ftp", "ftp://" + r.allowed + "/", 501, "scheme_not_supported"},
		{"file", "file:///etc/passwd", 501, "scheme_not_supported"},
		{"gopher", "gopher://" + r.allowed + "/", 501, "scheme_not_supported"},
		{"ws", "ws://" + r.allowed + "/", 501, "scheme_not_supported"},
		{"wss", "WSS://" + r.allowed + "/", 501, "scheme_not_supported"},
		{"https", "https://" + r.allowed + "/", 501, "https_not_tunneled"},
		{"https in capitals", "HTTPS://" + r.allowed + "/", 501, "https_not_tunneled"},
		{"https without a host", "https:///x", 501, "https_not_tunneled"},
	} {
		t.Run(row.why, func(t *testing.T) {
			raw := "GET " + row.target + " HTTP/1.1\r\nHost: allowed.test\r\n" + auth("billing") + "\r\n"
			r.refusedOnce(t, raw, row.status, row.reason)
		})
	}
	r.untouched()
}

func TestNameThatOnlyResemblesAnAllowedOneIsNotLookedUp(t *testing.T) {
	r := newTargetRig(t)
	for _, host := range []string{"allowed.test.evil.test", "evilallowed.test", "sub.allowed.test", "test", "evil.test"} {
		for _, raw := range []string{
			connectAs("billing", fmt.Sprintf("%s:%d", host, r.origin.port)),
			absoluteAs("billing", fmt.Sprintf("%s:%d", host, r.origin.port)),
		} {
			r.refusedOnce(t, raw, 403, "host_not_allowed")
		}
	}
	r.untouched()
}

func TestPortWithoutARuleIsNotLookedUp(t *testing.T) {
	r := newTargetRig(t)
	r.refusedOnce(t, connectAs("billing", "allowed.test:22"), 403, "port_not_allowed")
	r.refusedOnce(t, absoluteAs("billing", "allowed.test:22"), 403, "port_not_allowed")
	r.refusedOnce(t, absoluteAs("billing", "allowed.test"), 403, "port_not_allowed") // 80
	r.untouched()
}

func TestEverySpellingOfAnAllowedNameIsRecordedInOne(t *testing.T) {
	r := newTargetRig(t)
	for _, row := range []struct{ spelling, canonical string }{
		{"ALLOWED.test", "allowed.test"},
		{"aLLowed.TEST", "allowed.test"},
		{"allowed.test.", "allowed.test"},
		{"xn--bcher-kva.test", "xn--bcher-kva.test"},
		{"XN--BCHER-KVA.test", "xn--bcher-kva.test"},
	} {
		t.Run(row.spelling, func(t *testing.T) {
			target := fmt.Sprintf("%s:%d", row.spelling, r.origin.port)
			c, br := r.send(connectAs("billing", target))
			if line, _ := br.ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 200 ") {
				t.Fatalf("CONNECT was answered %q", line)
			}
			c.Close()
			_, br = r.send(absoluteAs("billing", target))
			if resp, _ := readOne(t, br); resp.StatusCode != 200 {
				t.Fatalf("GET was answered %s", resp.Status)
			}
			opened := r.of("opened")
			for _, record := range opened[len(opened)-2:] {
				if record["host"] != row.canonical {
					t.Errorf("the record says %v, want %s", record["host"], row.canonical)
				}
			}
			if want := fmt.Sprintf("Host: %s:%d\r\n", row.canonical, r.origin.port); !strings.Contains(r.origin.text(), want) {
				t.Errorf("the origin saw no %q", want)
			}
		})
	}
}
