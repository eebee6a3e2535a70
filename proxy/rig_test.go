package proxy_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// rig is a real server on loopback with a policy, a table of names and a
// record stream that the test can read.
type rig struct {
	t      testing.TB
	server *proxy.Server
	addr   string // of the proxy
	ln     net.Listener
	log    *audit.Log
	reg    *prometheus.Registry

	names   sync.Map     // name → proxy.Resolved or error
	lookups atomic.Int64 // how often a name was looked up
	current atomic.Pointer[snapshot]

	authorities *x509.CertPool // of client certificates, for setPolicy; nil: nobody is asked again
	records     recordBuffer
	cancel      context.CancelFunc
	ran         chan struct{}
	policyAsked atomic.Int64 // how often the policy in force was asked for
}

// snapshot is what Options.Policy returns.
type snapshot struct {
	policy     *policy.Policy
	identities *identity.Table
}

// rigOptions changes what newRig builds.
type rigOptions struct {
	functions []function
	deny      []string
	limits    proxy.Limits
	options   func(*proxy.Options)
	tls       *tls.Config

	authorities *x509.CertPool
	audit       audit.Options
	sink        io.Writer // nil: the rig's own buffer
}

// function is one function of the rig's policy.
type function struct {
	name    string
	token   string // "": its name
	rules   []rule
	report  time.Time
	sources []netip.Prefix
	certs   []string
	noToken bool
}

// rule is one allow entry; the port of the rig's origins is added by allow.
type rule struct {
	host      string
	cidr      string
	ports     []uint16
	any       bool
	addresses []string
	expires   time.Time
}

// loopback opens 127.0.0.0/8 and ::1 for a rule, as tests need it.
var loopback = []string{"127.0.0.0/8", "::1/128"}

// newRig starts a server and stops it with the test.
func newRig(t testing.TB, o rigOptions) *rig {
	t.Helper()
	r := &rig{t: t, reg: prometheus.NewRegistry(), ran: make(chan struct{}), authorities: o.authorities}
	r.setPolicy(o.functions, o.deny...)
	var sink io.Writer = &r.records
	if o.sink != nil {
		sink = o.sink
	}
	// Where a test names no time, a machine that is busy has plenty.
	o.audit.Timeout = cmp.Or(o.audit.Timeout, 2*patience)
	o.limits.HeaderTimeout = cmp.Or(o.limits.HeaderTimeout, 2*patience)
	o.limits.DialTimeout = cmp.Or(o.limits.DialTimeout, 2*patience)
	o.limits.HelloTimeout = cmp.Or(o.limits.HelloTimeout, 2*patience)
	r.log = audit.New(sink, o.audit)
	opt := proxy.Options{
		Policy: func() (*policy.Policy, *identity.Table) {
			defer r.policyAsked.Add(1)
			s := r.current.Load()
			return s.policy, s.identities
		},
		Lookup: r.lookup, Audit: r.log, Limits: o.limits, Registerer: r.reg,
	}
	if o.options != nil {
		o.options(&opt)
	}
	r.server = proxy.New(opt)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr, r.ln = ln.Addr().String(), ln
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	served := make(chan error, 1)
	go func() { r.server.Run(ctx); close(r.ran) }()
	go func() { served <- r.server.Serve(ln, o.tls) }()
	if o.tls == nil {
		eventually(t, "Serve at work", r.server.Serving)
	}
	t.Cleanup(func() {
		cancel()
		<-r.ran
		r.server.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve returned %v", err)
		}
		r.checkEnd(o.sink == nil)
	})
	return r
}

// setPolicy compiles and swaps the policy in.
func (r *rig) setPolicy(functions []function, deny ...string) {
	r.t.Helper()
	spec := policy.Spec{Hash: fmt.Sprintf("%012x", len(functions))}
	for i, d := range deny {
		spec.Deny = append(spec.Deny, policy.DenySpec{Pattern: mustPattern(r.t, d), Line: i + 1})
	}
	var entries []identity.Entry
	for _, f := range functions {
		fs := policy.FunctionSpec{Name: f.name, Owner: "owner of " + f.name, ReportUntil: f.report}
		for i, ru := range f.rules {
			fs.Rules = append(fs.Rules, ru.spec(r.t, i+1))
		}
		spec.Functions = append(spec.Functions, fs)
		e := identity.Entry{Function: f.name, Sources: f.sources, Certificates: f.certs}
		if !f.noToken {
			e.Tokens = []identity.Token{sha256.Sum256([]byte(cmp.Or(f.token, f.name)))}
		}
		entries = append(entries, e)
	}
	p, err := policy.Compile(spec)
	if err != nil {
		r.t.Fatal(err)
	}
	ids, err := identity.NewTrusting(r.authorities, entries)
	if err != nil {
		r.t.Fatal(err)
	}
	r.current.Store(&snapshot{p, ids})
}

// standing opens a tunnel and waits until nothing that started it looks at the policy any more:
// a tunnel that finds another one when it starts, behind its answer, is judged by that.
func (r *rig) standing(raw string) net.Conn {
	r.t.Helper()
	before := r.policyAsked.Load()
	c, br := r.send(raw)
	wantEstablished(r.t, br)
	eventually(r.t, "the policy is asked for as the tunnel starts", func() bool { return r.policyAsked.Load() >= before+2 })
	return c
}

// spec turns the test's rule into a policy's.
func (ru rule) spec(t testing.TB, line int) policy.RuleSpec {
	t.Helper()
	conditions := &policy.Conditions{Ports: hostname.Ports(ru.ports...), Expires: ru.expires}
	if ru.any {
		conditions.TLS = policy.TLSAny
	}
	for _, a := range ru.addresses {
		conditions.Addresses = append(conditions.Addresses, netip.MustParsePrefix(a))
	}
	rs := policy.RuleSpec{Line: line, Conditions: conditions}
	if ru.cidr != "" {
		rs.Prefix = netip.MustParsePrefix(ru.cidr)
	} else {
		rs.Pattern = mustPattern(t, ru.host)
	}
	return rs
}

func mustPattern(t testing.TB, s string) hostname.Pattern {
	t.Helper()
	p, err := hostname.ParsePattern(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// lookup answers from the rig's table of names and counts.
func (r *rig) lookup(_ context.Context, n hostname.Name) (proxy.Resolved, error) {
	r.lookups.Add(1)
	switch v, _ := r.names.Load(n.String()); v := v.(type) {
	case proxy.Resolved:
		return v, nil
	case error:
		return proxy.Resolved{}, v
	default:
		return proxy.Resolved{}, fmt.Errorf("no such name")
	}
}

// resolves makes a name resolve to the addresses.
func (r *rig) resolves(name string, addrs ...string) { r.names.Store(name, resolvedTo(addrs...)) }

// leads makes a name an alias of others, the last of which has the address.
func (r *rig) leads(name, addr string, aliases ...string) {
	found := resolvedTo(addr)
	found.Aliases = aliases
	r.names.Store(name, found)
}

// resolvedTo is a lookup that found the addresses.
func resolvedTo(addrs ...string) (found proxy.Resolved) {
	for _, a := range addrs {
		found.Addresses = append(found.Addresses, netip.MustParseAddr(a))
	}
	return found
}

// dial opens a connection to the proxy that ends with the test.
func (r *rig) dial() *net.TCPConn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	r.t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// send writes raw bytes to a new connection and returns it with its reader.
func (r *rig) send(raw string) (*net.TCPConn, *bufio.Reader) {
	r.t.Helper()
	c := r.dial()
	if _, err := io.WriteString(c, raw); err != nil {
		r.t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// ask sends raw bytes and returns the one reply, which ends the connection unless it
// lets the client have it.
func (r *rig) ask(raw string) reply {
	r.t.Helper()
	_, br := r.send(raw)
	return readReply(r.t, br)
}

// reply is a whole response with its connection's end.
type reply struct {
	*http.Response
	body string
	rest string // what came behind it
}

// reason returns the reason that the reply names.
func (r reply) reason() string { return r.Header.Get("X-Egress-Reason") }

func readReply(t testing.TB, br *bufio.Reader) reply {
	t.Helper()
	resp, _, err := readFinal(br, http.MethodGet)
	if err != nil {
		t.Fatalf("reading the reply: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("reading the reply's body: %v", err)
	}
	if !resp.Close {
		behind, _ := br.Peek(br.Buffered())
		return reply{resp, string(body), string(behind)}
	}
	rest, _ := io.ReadAll(br)
	return reply{resp, string(body), string(rest)}
}

// auth returns the Proxy-Authorization field line of a function.
func auth(name string) string {
	return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+name)) + "\r\n"
}

// connectAs returns a CONNECT of the function to the target.
func connectAs(name, target string) string {
	return "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n" + auth(name) + "\r\n"
}

// recordBuffer keeps what the audit log writes.
type recordBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *recordBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// all returns the records so far.
func (b *recordBuffer) all(t testing.TB) []map[string]any {
	t.Helper()
	return b.after(t, 0)
}

// size returns how many bytes the records so far have.
func (b *recordBuffer) size() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Len()
}

// after returns the records behind the first size bytes.
func (b *recordBuffer) after(t testing.TB, size int) []map[string]any {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []map[string]any
	for line := range strings.Lines(string(b.buf.Bytes()[size:])) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("record %q: %v", line, err)
		}
		out = append(out, m)
	}
	return out
}

// of returns the records of one event.
func (r *rig) of(event string) []map[string]any {
	r.t.Helper()
	var out []map[string]any
	for _, m := range r.records.all(r.t) {
		if m["event"] == event {
			out = append(out, m)
		}
	}
	return out
}

// future is when report mode ends, where a function is in it.
var future = time.Now().Add(time.Hour)

// patience is how long a test waits for what must happen before it gives up.
const patience = 30 * time.Second

// eventually waits for a condition that another goroutine brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
