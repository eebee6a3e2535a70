// Package peers configures and starts what is measured: our own program, from
// whichever binary, and the programs that it is compared with. All of them
// listen on loopback and have the same list of names. Whoever starts one stops
// it. It measures nothing but a reload, which it has to prepare.
package peers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/handshake"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/load"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/process"
)

// ErrMissing is a peer that the machine does not have.
var ErrMissing = errors.New("not installed")

// Bench is where one binary of ours, and what it is compared with, is set up.
type Bench struct {
	Dir     string // for files of the programs
	Binary  string // our own program
	Servers *Servers
}

// freePort returns a port that was free a moment ago.
func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// write writes a file into the bench's folder and returns its path.
func (b *Bench) write(name, text string) (string, error) {
	path := filepath.Join(b.Dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// names returns the names of a list, the allowed one in the middle.
func names() []string {
	all := make([]string, 0, load.ListSize+1)
	for i := range load.ListSize {
		if i == load.ListSize/2 {
			all = append(all, load.AllowedName)
		}
		all = append(all, load.ListedName(i))
	}
	return all
}

// StartProxies starts our proxy and every peer that the machine has and that has
// filter in its name. It returns the names of the missing ones too; what was
// started is returned with an error as well.
func (b *Bench) StartProxies(filter string) (all []*load.Target, missing []string, err error) {
	for _, p := range []struct {
		name  string
		start func() (*load.Target, error)
	}{
		{"this proxy", b.startWhole},
		{"Squid", b.startSquid},
		{"HAProxy (TCP)", b.startHAProxy},
		{"io.Copy floor", b.startFloor},
		{"Apache", b.startApache},
		{"tinyproxy", b.startTinyproxy},
	} {
		if len(all) > 0 && !strings.Contains(p.name, filter) {
			continue
		}
		t, err := p.start()
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

// startSquid starts Squid with the same list as an ACL, no cache, and its
// access log to a file.
func (b *Bench) startSquid() (*load.Target, error) {
	path, err := exec.LookPath("squid")
	if err != nil {
		return nil, ErrMissing
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	list, err := b.write("squid.names", strings.Join(names(), "\n")+"\n")
	if err != nil {
		return nil, err
	}
	hosts, err := b.write("squid.hosts", "127.0.0.1 "+load.AllowedName+" localhost\n")
	if err != nil {
		return nil, err
	}
	config, err := b.write("squid.conf", fmt.Sprintf(`http_port 127.0.0.1:%d
acl allowed dstdomain "%s"
acl CONNECT method CONNECT
http_access allow allowed
http_access deny all
hosts_file %s
cache deny all
cache_mem 8 MB
access_log stdio:%s/squid.access
cache_log %s/squid.cache
pid_filename %s/squid.pid
coredump_dir %s
max_filedescriptors 20000
workers 1
via off
shutdown_lifetime 1 seconds
`, port, list, hosts, b.Dir, b.Dir, b.Dir, b.Dir))
	if err != nil {
		return nil, err
	}
	// Squid drops root for the user proxy, who must be able to write here.
	if err := os.Chmod(b.Dir, 0o777); err != nil {
		return nil, err
	}
	p, err := process.Start(b.Dir, path, "-N", "-f", config)
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	return &load.Target{Name: "Squid", Version: versionOf(path, "-v"), Proc: p, Addr: addr, Host: load.AllowedName, Refused: load.RefusedName}, p.Await(addr)
}

// startTinyproxy starts tinyproxy with the list as a filter.
func (b *Bench) startTinyproxy() (*load.Target, error) {
	path, err := exec.LookPath("tinyproxy")
	if err != nil {
		return nil, ErrMissing
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	escaped := strings.ReplaceAll(strings.Join(append(names(), "localhost"), "$\n^"), ".", `\.`)
	filter, err := b.write("tinyproxy.filter", "^"+escaped+"$\n")
	if err != nil {
		return nil, err
	}
	config, err := b.write("tinyproxy.conf", fmt.Sprintf(`Port %d
Listen 127.0.0.1
Timeout 600
LogFile "%s/tinyproxy.log"
LogLevel Connect
MaxClients 10000
Filter "%s"
FilterExtended On
FilterDefaultDeny Yes
`, port, b.Dir, filter))
	if err != nil {
		return nil, err
	}
	p, err := process.Start(b.Dir, path, "-d", "-c", config)
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	return &load.Target{Name: "tinyproxy", Closes: true, Threads: true, Version: versionOf(path, "-v"), Proc: p, Addr: addr, Host: "localhost", Refused: load.RefusedName}, p.Await(addr)
}

// startApache starts Apache with mod_proxy_connect and no list.
func (b *Bench) startApache() (*load.Target, error) {
	path, err := exec.LookPath("apache2")
	if err != nil {
		return nil, ErrMissing
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	var connect strings.Builder
	for _, p := range b.Servers.Origins.Ports() {
		fmt.Fprintf(&connect, " %d", p)
	}
	const modules = "/usr/lib/apache2/modules"
	config, err := b.write("apache.conf", fmt.Sprintf(`ServerRoot %[2]s
PidFile %[2]s/apache.pid
ServerName localhost
Listen 127.0.0.1:%[1]d
LoadModule mpm_event_module %[4]s/mod_mpm_event.so
LoadModule authz_core_module %[4]s/mod_authz_core.so
LoadModule proxy_module %[4]s/mod_proxy.so
LoadModule proxy_http_module %[4]s/mod_proxy_http.so
LoadModule proxy_connect_module %[4]s/mod_proxy_connect.so
CustomLog %[2]s/apache.access "%%h %%t %%r %%>s"
ErrorLog %[2]s/apache.error
ThreadsPerChild 64
ThreadLimit 64
ServerLimit 4
MaxRequestWorkers 256
MaxKeepAliveRequests 0
KeepAliveTimeout 60
ProxyRequests On
AllowCONNECT%[3]s
ProxyBlock %[5]s
`, port, b.Dir, connect.String(), modules, load.RefusedName))
	if err != nil {
		return nil, err
	}
	p, err := process.Start(b.Dir, path, "-D", "FOREGROUND", "-f", config)
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	return &load.Target{Name: "Apache", Threads: true, Version: versionOf(path, "-v"), Proc: p, Addr: addr, Host: "localhost", Refused: load.RefusedName}, p.Await(addr)
}

// startHAProxy starts HAProxy as a relay of bytes: no parsing, no policy. A second frontend
// ends TLS before it relays.
func (b *Bench) startHAProxy() (*load.Target, error) {
	path, err := exec.LookPath("haproxy")
	if err != nil {
		return nil, ErrMissing
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	secure, err := freePort()
	if err != nil {
		return nil, err
	}
	certificate, key, err := handshake.PEM("proxy.bench.test")
	if err != nil {
		return nil, err
	}
	both, err := b.write("haproxy.pem", string(certificate)+string(key))
	if err != nil {
		return nil, err
	}
	t := &load.Target{Name: "HAProxy (TCP)", TLS: fmt.Sprintf("127.0.0.1:%d", secure), Version: versionOf(path, "-v"), Addr: fmt.Sprintf("127.0.0.1:%d", port), Raw: true}
	config, err := b.write("haproxy.cfg", fmt.Sprintf(`global
  maxconn 9500
  nbthread 2
defaults
  mode tcp
  timeout connect 5s
  timeout client 330s
  timeout server 330s
frontend in
  bind 127.0.0.1:%d
  default_backend reply
frontend secure
  bind 127.0.0.1:%d ssl crt %s
  default_backend reply
backend reply
  server reply 127.0.0.1:%d
`, port, secure, both, b.Servers.Origins.Reply))
	if err != nil {
		return nil, err
	}
	if t.Proc, err = process.Start(b.Dir, path, "-db", "-f", config); err != nil {
		return nil, err
	}
	return t, t.Proc.Await(t.Addr)
}

// versionOf returns the first line that a program says of its version.
func versionOf(path string, args ...string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if err != nil && line == "" {
		return "unknown"
	}
	return line
}
