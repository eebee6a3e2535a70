package proxy_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

func TestAfterAReloadWhatTheNewPolicyRefusesEndsAsRevoked(t *testing.T) {
	o := newOrigin(t, echo)
	ports := []uint16{o.port}
	anyTest := rule{host: "any.test", ports: ports, any: true, addresses: loopback}
	tlsTest := rule{host: "tls.test", ports: ports, addresses: loopback}
	billing := []function{{name: "billing", rules: []rule{anyTest, tlsTest}}}
	first := clientHello(names("tls.test"))
	for _, row := range []struct {
		name          string
		before, after []function
		deny          []string
		host, first   string
		revoked       bool
	}{
		{name: "nothing changed", before: billing, after: billing, host: "any.test"},
		{name: "nothing changed for a verified hello", before: billing, after: billing, host: "tls.test", first: first},
		{name: "another function changed", before: billing, host: "any.test",
			after: append([]function{{name: "new"}}, billing...)},
		{name: "the rule removed", before: billing, after: []function{{name: "billing", rules: []rule{tlsTest}}}, host: "any.test", revoked: true},
		{name: "the port removed", before: billing, host: "any.test", revoked: true,
			after: []function{{name: "billing", rules: []rule{{host: "any.test", ports: []uint16{1}, any: true, addresses: loopback}}}}},
		{name: "the rule expired", before: billing, host: "any.test", revoked: true,
			after: []function{{name: "billing", rules: []rule{{host: "any.test", ports: ports, any: true, addresses: loopback, expires: time.Unix(1, 0)}}}}},
		{name: "the host denied", before: billing, after: billing, deny: []string{"any.test"}, host: "any.test", revoked: true},
		{name: "a name denied that the host is an alias of", before: billing, after: billing, deny: []string{"*.alias.test"}, host: "any.test", revoked: true},
		{name: "the function removed", before: billing, after: []function{{name: "other"}}, host: "any.test", revoked: true},
		{name: "the token removed", before: billing, host: "any.test", revoked: true,
			after: []function{{name: "billing", noToken: true, certs: []string{"x.internal"}, rules: []rule{anyTest}}}},
		{name: "the source no longer the function's", before: billing, host: "any.test", revoked: true,
			after: []function{{name: "billing", sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, rules: []rule{anyTest}}}},
		{name: "the address no longer permitted", before: billing, host: "any.test", revoked: true,
			after: []function{{name: "billing", rules: []rule{{host: "any.test", ports: ports, any: true}}}}},
		{name: "a hello asked for that was not checked", before: billing, host: "any.test", revoked: true,
			after: []function{{name: "billing", rules: []rule{{host: "any.test", ports: ports, addresses: loopback}}}}},
		{name: "report mode ended, for a hello of another host", host: "tls.test", first: clientHello(names("evil.test")), revoked: true,
			before: []function{{name: "billing", report: future, rules: []rule{tlsTest}}}, after: billing},
		{name: "report mode goes on, for a hello of another host", host: "tls.test", first: clientHello(names("evil.test")),
			before: []function{{name: "billing", report: future, rules: []rule{tlsTest}}},
			after:  []function{{name: "billing", report: future, rules: []rule{tlsTest, anyTest}}}},
		{name: "report mode goes on, for a port", before: billing, host: "any.test",
			after: []function{{name: "billing", report: future, rules: []rule{{host: "any.test", ports: []uint16{1}, any: true, addresses: loopback}}}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{functions: row.before})
			r.leads("any.test", "127.0.0.1", "cdn.alias.test")
			r.resolves("tls.test", "127.0.0.1")
			c, br := r.send(connectAs("billing", o.at(row.host)) + row.first)
			wantEstablished(t, br)
			wantExactly(t, br, row.first)
			_, _ = io.WriteString(c, "x")
			wantExactly(t, br, "x")
			r.setPolicy(row.after, row.deny...)
			r.server.Rejudge()
			if row.revoked {
				wantEnd(t, br)
				if m := r.one("closed"); m["ended"] != "revoked" || m["bytes_up"] != float64(len(row.first)+1) {
					t.Errorf("record: %v", m)
				}
				return
			}
			_, _ = io.WriteString(c, "y")
			wantExactly(t, br, "y")
			if n := len(r.of("closed")); n != 0 {
				t.Errorf("closed: %v", r.of("closed"))
			}
		})
	}
}

// Another function has the source now, and may reach the host as well: it is
// not the one that asked.
func TestATunnelIsNotInheritedByTheFunctionThatHasTheSourceNow(t *testing.T) {
	o := newOrigin(t, echo)
	owned := func(name string) []function {
		return []function{{
			name: name, noToken: true, sources: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
			rules: []rule{{host: "any.test", ports: []uint16{o.port}, any: true, addresses: loopback}},
		}}
	}
	r := newRig(t, rigOptions{functions: owned("first")})
	r.resolves("any.test", "127.0.0.1")
	_, br := r.send(withAuth(o.at("any.test")))
	wantEstablished(t, br)
	eventually(t, "the tunnel", func() bool { return r.server.Tunnels() == 1 })
	r.setPolicy(owned("second"))
	r.server.Rejudge()
	wantEnd(t, br)
	if m := r.one("closed"); m["ended"] != "revoked" || m["function"] != "first" {
		t.Errorf("record: %v", m)
	}
}

// The reload comes after the decision and before the tunnel starts: Rejudge has
// not seen it, so whoever starts it looks again.
func TestAReloadDuringTheSetUpIsNotMissed(t *testing.T) {
	o := newOrigin(t, echo)
	looking, changed := make(chan struct{}), make(chan struct{})
	r := openRig(t, o, rigOptions{options: func(opt *proxy.Options) {
		opt.Lookup = func(ctx context.Context, _ hostname.Name) (proxy.Resolved, error) {
			if ctx.Err() != nil {
				return proxy.Resolved{}, ctx.Err() // a loop may not wait
			}
			looking <- struct{}{}
			<-changed
			return resolvedTo("127.0.0.1"), nil
		}
	}})
	_, br := r.send(connectAs("billing", o.at("any.test")))
	<-looking
	r.setPolicy([]function{{name: "billing"}})
	r.server.Rejudge()
	close(changed)
	wantEstablished(t, br) // by the snapshot that it began with
	wantEnd(t, br)
	if m := r.one("closed"); m["ended"] != "revoked" {
		t.Errorf("record: %v", m)
	}
}

// One request is judged by one snapshot, whatever is loaded meanwhile, and the
// record names that one.
func TestReloadsUnderLoadLeaveEachRecordToOnePolicy(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, echo)
	open := []function{{name: "billing", rules: []rule{{host: "any.test", ports: []uint16{o.port}, any: true, addresses: loopback}}}}
	shut := []function{{name: "billing"}, {name: "other"}} // the rig names policies by their size
	r := newRig(t, rigOptions{functions: open})
	r.resolves("any.test", "127.0.0.1")
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			r.setPolicy([][]function{open, shut}[i%2])
			r.server.Rejudge()
		}
	})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for range 50 {
				c, err := net.Dial("tcp", r.addr)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.WriteString(c, connectAs("billing", o.at("any.test")))
				_, _ = bufio.NewReader(c).ReadString('\n')
				c.Close()
			}
		})
	}
	clients.Wait()
	close(stop)
	wg.Wait()
	eventually(t, "no tunnel", func() bool { return r.server.Tunnels() == 0 })
	for _, m := range r.of("opened") {
		if m["policy"] != "000000000001" {
			t.Errorf("opened under the policy that refuses: %v", m)
		}
	}
	for _, m := range r.of("refused") {
		if m["policy"] != "000000000002" {
			t.Errorf("refused under the policy that allows: %v", m)
		}
	}
}
