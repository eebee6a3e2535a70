package proxy_test

import (
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

const signatureV2 = "\r\n\r\n\x00\r\nQUIT\n"

// headerV2 is a PROXY protocol version 2 header.
func headerV2(command, family byte, body string) string {
	return signatureV2 + string([]byte{0x20 | command, family}) + sized(body)
}

const (
	local, proxied   = 0, 1
	tcp4, tcp6, unix = 0x11, 0x21, 0x31
	from10129        = "\x0a\x01\x02\x09\x0a\x00\x00\x01\x9c\x40\x0c\x38" // 10.1.2.9:40000 to 10.0.0.1:3128
	v6From           = "\x20\x01\x48\x60\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07"
	mappedFrom       = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0a\x01\x02\x09"
)

// balancedRig is a rig that expects PROXY headers from loopback, where the
// function bysource is whoever comes from 10.1.2.0/24.
func balancedRig(t *testing.T, o *origin, ro rigOptions) *rig {
	more := ro.options
	ro.options = func(opt *proxy.Options) {
		opt.ProxyProtocolFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		if more != nil {
			more(opt)
		}
	}
	ro.functions = []function{{
		name: "bysource", noToken: true, sources: []netip.Prefix{netip.MustParsePrefix("10.1.2.0/24")},
		rules: []rule{{host: "any.test", ports: []uint16{o.port}, any: true, addresses: loopback}},
	}}
	return openRig(t, o, ro)
}

func TestTheClientIsWhoTheBalancerSays(t *testing.T) {
	o := newOrigin(t, echo)
	r := balancedRig(t, o, rigOptions{})
	for _, row := range []struct{ name, header, client, function string }{
		{"version 1", "PROXY TCP4 10.1.2.9 10.0.0.1 40000 3128\r\n", "10.1.2.9:40000", "bysource"},
		{"version 2", headerV2(proxied, tcp4, from10129), "10.1.2.9:40000", "bysource"},
		{"version 2 with more than the addresses", headerV2(proxied, tcp4, from10129+"\xea\x00\x05\x01vpce"), "10.1.2.9:40000", "bysource"},
		{"an IPv4-mapped address", headerV2(proxied, tcp6, mappedFrom+v6From+"\x9c\x40\x0c\x38"), "10.1.2.9:40000", "bysource"},
		{"version 1, IPv6", "PROXY TCP6 2001:4860::7 2001:4860::8 40000 3128\r\n", "[2001:4860::7]:40000", "billing"},
		{"version 2, IPv6", headerV2(proxied, tcp6, v6From+v6From+"\x9c\x40\x0c\x38"), "[2001:4860::7]:40000", "billing"},
		{"LOCAL, of the balancer itself", headerV2(local, 0, ""), "127.0.0.1:", "billing"},
		{"LOCAL with addresses, which count for nothing", headerV2(local, tcp4, from10129), "127.0.0.1:", "billing"},
	} {
		for _, way := range []string{"in one segment with what follows", "split"} {
			t.Run(row.name+", "+way, func(t *testing.T) {
				request := withAuth(o.at("any.test"))
				if row.function == "billing" {
					request = connectAs("billing", o.at("any.test"))
				}
				early := "fused \x00\r\n\r\n bytes"
				c, br := r.send("")
				if way == "split" {
					for i := range len(row.header) {
						_, _ = io.WriteString(c, row.header[i:i+1])
					}
					_, _ = io.WriteString(c, request+early)
				} else {
					_, _ = io.WriteString(c, row.header+request+early)
				}
				wantEstablished(t, br)
				wantExactly(t, br, early)
				opened := r.of("opened")
				m := opened[len(opened)-1]
				if !strings.HasPrefix(text(m["client"]), row.client) || m["function"] != row.function {
					t.Errorf("client %v is %v, want %s and %s", m["client"], m["function"], row.client, row.function)
				}
				c.Close()
			})
		}
	}
}

func TestAConnectionWithoutAGoodHeaderIsClosedWithoutAnAnswerAndRecorded(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, echo)
	r := balancedRig(t, o, rigOptions{})
	request := withAuth(o.at("any.test"))
	for i, row := range []struct {
		name, header string
		half         bool // the client ends what it sends
	}{
		{"no header", "", false},
		{"a wrong signature", "\r\n\r\n\x00\r\nQUIX\n\x21\x11\x00\x0c" + from10129, false},
		{"version 3", signatureV2 + "\x31\x11\x00\x0c" + from10129, false},
		{"an unknown command", signatureV2 + "\x22\x11\x00\x0c" + from10129, false},
		{"an unknown family", signatureV2 + "\x21\x51\x00\x0c" + from10129, false},
		{"UNIX", headerV2(proxied, unix, strings.Repeat("\x00", 216)), false},
		{"UDP", headerV2(proxied, 0x12, from10129), false},
		{"UNSPEC", headerV2(proxied, 0, ""), false},
		{"UNKNOWN", "PROXY UNKNOWN\r\n", false},
		{"UNKNOWN with addresses", "PROXY UNKNOWN 10.1.2.9 10.0.0.1 40000 3128\r\n", false},
		{"a length of 65535", signatureV2 + "\x21\x11\xff\xff" + from10129, false},
		{"a LOCAL length of 65535", signatureV2 + "\x20\x00\xff\xff", false},
		{"a length below the addresses", headerV2(proxied, tcp4, from10129[:11]), false},
		{"version 1 without its addresses", "PROXY TCP4\r\n", false},
		{"version 1 with a name", "PROXY TCP4 any.test 10.0.0.1 1 2\r\n", false},
		{"version 1 ending in LF", "PROXY TCP4 10.1.2.9 10.0.0.1 1 2\n", false},
		{"version 1 of 200 bytes", "PROXY TCP4 " + strings.Repeat("1", 200) + "\r\n", false},
		{"version 2 cut short", headerV2(proxied, tcp4, from10129)[:20], true},
		{"version 1 cut short", "PROXY TC", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			raw := row.header + request
			if row.half {
				raw = row.header
			}
			c, br := r.send(raw)
			if row.half {
				_ = c.CloseWrite()
			}
			wantEnd(t, br)
			eventually(t, "a record", func() bool { return len(r.of("refused")) == i+1 })
			if m := r.of("refused")[i]; m["reason"] != "bad_request" || m["function"] != nil {
				t.Errorf("record: %v", m)
			}
		})
	}
	if n := o.accepted.Load(); n != 0 {
		t.Errorf("%d connections to the origin", n)
	}
}

// One whose client was too slow to begin has said nothing, and is not a record.
func TestAHeaderThatNeverEndsIsClosedWithoutAnAnswerAndRecorded(t *testing.T) {
	t.Parallel()
	r := balancedRig(t, newOrigin(t, echo), rigOptions{limits: proxy.Limits{HeaderTimeout: 300 * time.Millisecond}})
	eventually(t, "a record", func() bool {
		_, br := r.send(headerV2(proxied, tcp4, from10129)[:20])
		wantEnd(t, br)
		return len(r.of("refused")) > 0
	})
	if m := r.one("refused"); m["reason"] != "bad_request" || m["function"] != nil {
		t.Errorf("record: %v", m)
	}
}

func TestAHealthCheckThatSaysNothingIsNotRecorded(t *testing.T) {
	t.Parallel()
	r := balancedRig(t, newOrigin(t, echo), rigOptions{limits: proxy.Limits{HeaderTimeout: 100 * time.Millisecond}})
	r.dial().Close()
	_, br := r.send("") // stays silent
	wantEnd(t, br)
	c, br := r.send(headerV2(local, 0, ""))
	_ = c.CloseWrite()
	wantEnd(t, br)
	eventually(t, "the connections ended", func() bool { return r.server.Unidentified() == 0 })
	if n := len(r.records.all(t)); n != 0 {
		t.Errorf("records: %v", r.records.all(t))
	}
}

// A header from anyone else would be a way to be whoever one likes.
func TestAHeaderFromSomeoneElseIsRefused(t *testing.T) {
	o := newOrigin(t, echo)
	r := balancedRig(t, o, rigOptions{options: func(opt *proxy.Options) {
		opt.ProxyProtocolFrom = []netip.Prefix{netip.MustParsePrefix("127.9.0.0/16")}
	}})
	for _, header := range []string{"PROXY TCP4 10.1.2.9 10.0.0.1 40000 3128\r\n", headerV2(proxied, tcp4, from10129), headerV2(local, 0, "")} {
		got := r.ask(header + withAuth(o.at("any.test")))
		r.wantRefusal(got, 400, "bad_request", "http_request_error")
		refused := r.of("refused")
		if m := refused[len(refused)-1]; !strings.HasPrefix(text(m["client"]), "127.0.0.1:") || m["function"] != nil {
			t.Errorf("record: %v", m)
		}
	}
	if n := o.accepted.Load(); n != 0 {
		t.Errorf("%d connections to the origin", n)
	}
}
