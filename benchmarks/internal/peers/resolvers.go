package peers

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/load"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/process"
)

// resolver is a server that answers lookups from a list of names.
type resolver struct {
	name    string
	program string // to be found in the path; "": ours
	version []string
	config  func(d dnsSetup) string
	args    func(config string) []string
	logs    []string // files that it writes to for each question
}

// dnsSetup is what a configuration is made of.
type dnsSetup struct {
	dir      string // with the list, and for what the server writes
	port     int
	admin    int // of our own
	upstream netAddr
}

// dnsPeers are all that are compared, ours first. Every one of them answers the
// names of the list from its cache and all others with NXDOMAIN.
func dnsPeers() []resolver {
	unbound := func(args func(dnsSetup) string) func(dnsSetup) string {
		return func(d dnsSetup) string { return unboundConfig(d, args(d)) }
	}
	inForeground := func(config string) []string { return []string{"-d", "-c", config} }
	return []resolver{
		{
			name: "this proxy", version: []string{"version"}, config: filterConfig, logs: []string{"dns.records"},
			args: func(config string) []string { return []string{"run", "--config", config} },
		},
		{
			name: "Unbound", program: "unbound", version: []string{"-V"}, args: inForeground,
			config: unbound(func(dnsSetup) string { return "" }),
		},
		{
			name: "Unbound, logging", program: "unbound", version: []string{"-V"}, args: inForeground, logs: []string{"unbound.log"},
			config: unbound(func(d dnsSetup) string {
				return fmt.Sprintf("  logfile: %q\n  log-queries: yes\n  log-replies: yes\n", filepath.Join(d.dir, "unbound.log"))
			}),
		},
		{
			name: "dnsdist", program: "dnsdist", version: []string{"--version"}, config: dnsdistConfig,
			args: func(config string) []string { return []string{"--supervised", "--disable-syslog", "-C", config} },
		},
		{
			name: "dnsmasq", program: "dnsmasq", version: []string{"--version"}, config: dnsmasqConfig,
			args: func(config string) []string { return []string{"--keep-in-foreground", "--conf-file=" + config} },
		},
	}
}

// StartFilter starts our DNS filter.
func (b *Bench) StartFilter() (*load.Resolver, error) { return b.startResolver(dnsPeers()[0]) }

// StartResolvers starts our filter and every server that the machine has and that
// has filter in its name. It returns the names of the missing ones too; what was
// started is returned with an error as well.
func (b *Bench) StartResolvers(filter string) (all []*load.Resolver, missing []string, err error) {
	for _, p := range dnsPeers() {
		if len(all) > 0 && !strings.Contains(p.name, filter) {
			continue
		}
		t, err := b.startResolver(p)
		if errors.Is(err, ErrMissing) {
			missing = append(missing, p.name)
			continue
		}
		if err != nil {
			return all, missing, fmt.Errorf("starting %s: %w", p.name, err)
		}
		all = append(all, t)
	}
	return all, missing, nil
}

// startResolver starts one of them.
func (b *Bench) startResolver(p resolver) (*load.Resolver, error) {
	path := b.Binary
	if p.program != "" {
		var err error
		if path, err = exec.LookPath(p.program); err != nil {
			return nil, ErrMissing
		}
	}
	d := dnsSetup{dir: b.Dir, upstream: b.Servers.public}
	var err error
	if d.port, err = freePort(); err != nil {
		return nil, err
	}
	if d.admin, err = freePort(); err != nil {
		return nil, err
	}
	if _, err := b.write("dns.names", strings.Join(listed(), "\n")+"\n"); err != nil {
		return nil, err
	}
	config, err := b.write(strings.ReplaceAll(p.name, " ", "-")+".dns", p.config(d))
	if err != nil {
		return nil, err
	}
	proc, err := process.Start(b.Dir, path, p.args(config)...)
	if err != nil {
		return nil, err
	}
	t := &load.Resolver{Name: p.name, Version: versionOf(path, p.version...), Proc: proc, Addr: fmt.Sprintf("127.0.0.1:%d", d.port)}
	for _, name := range p.logs {
		t.Logs = append(t.Logs, filepath.Join(b.Dir, name))
	}
	return t, proc.Await(t.Addr)
}

// filterConfig is ours: one function whose source is loopback has the list,
// and every refusal is recorded to a file.
func filterConfig(d dnsSetup) string {
	return fmt.Sprintf(`version: 1
listen: {proxy: "127.0.0.1:0", dns: "127.0.0.1:%d", admin: "127.0.0.1:%d"}
dns: {upstreams: ["%s:%d"], families: ip4, clients: [127.0.0.0/8]}
audit: {output: %q}
limits: {refusal_records: 1000000000}
sets:
  list: {file: %q}
functions:
  lookups:
    owner: a-team
    identify: {sources: [127.0.0.0/8]}
    allow: [{set: list}]
`, d.port, d.admin, d.upstream.host, d.upstream.port, filepath.Join(d.dir, "dns.records"), filepath.Join(d.dir, "dns.names"))
}

// unboundConfig is one thread, as Debian's package has it. A name of the list
// is a transparent zone within one that has no names.
func unboundConfig(d dnsSetup, more string) string {
	var zones strings.Builder
	for _, name := range listed() {
		fmt.Fprintf(&zones, "  local-zone: %q transparent\n", name+".")
	}
	return fmt.Sprintf(`server:
  interface: 127.0.0.1
  port: %d
  username: ""
  chroot: ""
  directory: %q
  pidfile: ""
  use-syslog: no
  do-not-query-localhost: no
  module-config: "iterator"
  access-control: 127.0.0.0/8 allow
  local-zone: "." always_nxdomain
%s%sforward-zone:
  name: "."
  forward-addr: %s@%d
remote-control:
  control-enable: no
`, d.port, d.dir, zones.String(), more, d.upstream.host, d.upstream.port)
}

// dnsdistConfig is a set of names in front of a packet cache.
func dnsdistConfig(d dnsSetup) string {
	return fmt.Sprintf(`setLocal("127.0.0.1:%d")
setSecurityPollSuffix("")
newServer({address="%s:%d"})
getPool(""):setCache(newPacketCache(10000))
names = newDNSNameSet()
for line in io.lines(%q) do names:add(newDNSName(line)) end
addAction(NotRule(QNameSetRule(names)), RCodeAction(DNSRCode.NXDOMAIN))
`, d.port, d.upstream.host, d.upstream.port, filepath.Join(d.dir, "dns.names"))
}

// dnsmasqConfig is a server for each name of the list and none for others.
func dnsmasqConfig(d dnsSetup) string {
	var b strings.Builder
	fmt.Fprintf(&b, "port=%d\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\nuser=\ncache-size=10000\ndns-forward-max=1000\npid-file=\naddress=/#/\n", d.port)
	for _, name := range listed() {
		fmt.Fprintf(&b, "server=/%s/%s#%d\n", name, d.upstream.host, d.upstream.port)
	}
	return b.String()
}

// netAddr is an address as configuration files want it, in parts.
type netAddr struct {
	host string
	port int
}

// listed are the names of the list.
func listed() []string {
	all := make([]string, load.ListSize)
	for i := range all {
		all[i] = load.ListedName(i)
	}
	return all
}
