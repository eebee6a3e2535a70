package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// errMissing is a peer that the machine does not have.
var errMissing = errors.New("not installed")

// listSize is how many names the lists have beside the one that is asked for.
const listSize = 1000

// bench is the place where everything under measure is set up.
type bench struct {
	dir     string // for files of the programs
	origins *origins
	dns     string // address of the upstream of our resolver
	binary  string // our own program
}

// freePort returns a port that was free a moment ago.
func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return int(portOf(ln)), nil
}

// await waits until something listens.
func await(addr string, p *process) error {
	for range 200 {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	p.stop()
	return fmt.Errorf("%s does not listen on %s: %s", p.cmd.Path, addr, p.log)
}

// write writes a file into the bench's folder and returns its path.
func (b *bench) write(name, text string) (string, error) {
	path := filepath.Join(b.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// names returns the names of a list, the allowed one in the middle.
func names() []string {
	all := make([]string, 0, listSize+1)
	for i := range listSize {
		if i == listSize/2 {
			all = append(all, allowedName)
		}
		all = append(all, fmt.Sprintf("host-%d.example-%d.com", i, i%97))
	}
	return all
}

// startDNS answers every A question with 127.0.0.1 and a long TTL, so that
// names are cached while they are measured.
func startDNS() (string, error) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if rr, err := dns.NewRR(q.Question[0].Name + " 3600 IN A 127.0.0.1"); err == nil && q.Question[0].Qtype == dns.TypeA {
			m.Answer = append(m.Answer, rr)
		}
		_ = w.WriteMsg(m)
	})}
	go func() { _ = server.ActivateAndServe() }()
	return pc.LocalAddr().String(), nil
}

// policyFile writes the file of our own proxy: 1,000 functions with a token
// each, a shared list of 1,001 names, every check on, records to a file.
func (b *bench) policyFile(name, addr, admin, set string) (string, error) {
	var y strings.Builder
	fmt.Fprintf(&y, "version: 1\nlisten: {proxy: %q, admin: %q}\ndns: {upstreams: [%q], families: ip4}\naudit: {output: %q}\n",
		addr, admin, b.dns, filepath.Join(b.dir, name+".records"))
	fmt.Fprintf(&y, "limits: {tunnels: 20000, tunnels_per_function: 20000, refusal_records: 1000000000}\n")
	fmt.Fprintf(&y, "sets:\n  list: {file: %q}\nfunctions:\n", set)
	ports := strings.Trim(strings.ReplaceAll(fmt.Sprint(b.origins.ports()), " ", ", "), "[]")
	for i := range 1000 {
		fmt.Fprintf(&y, "  function-%d:\n    identify: {tokens: [\"sha256:%x\"]}\n    allow: [{set: list, ports: [%s]}, {host: %s, ports: [%s], addresses: [127.0.0.0/8]}]\n",
			i, sha256.Sum256(fmt.Appendf(nil, "token-%d", i)), ports, allowedName, ports)
	}
	return b.write(name+".yaml", y.String())
}

// startOurs starts our proxy.
func (b *bench) startOurs() (*target, error) {
	listed := strings.ReplaceAll(strings.Join(names(), "\n"), allowedName, "other."+allowedName)
	set, err := b.write("names.txt", listed+"\n")
	if err != nil {
		return nil, err
	}
	return b.startOursWith("ours", set)
}

// startOursWith starts our proxy with a list of its own.
func (b *bench) startOursWith(name, set string) (*target, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	admin, err := freePort()
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	config, err := b.policyFile(name, addr, fmt.Sprintf("127.0.0.1:%d", admin), set)
	if err != nil {
		return nil, err
	}
	p, err := start(b.dir, b.binary, "run", "--config", config)
	if err != nil {
		return nil, err
	}
	credential := base64.StdEncoding.EncodeToString([]byte("function-500:token-500"))
	return &target{
		name: "this proxy", version: versionOf(b.binary, "version"), proc: p, addr: addr,
		host: allowedName, refused: refusedName, auth: "Proxy-Authorization: Basic " + credential + "\r\n",
	}, await(addr, p)
}

// startSquid starts Squid with the same list as an ACL, no cache, and its
// access log to a file.
func (b *bench) startSquid() (*target, error) {
	path, err := exec.LookPath("squid")
	if err != nil {
		return nil, errMissing
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	list, err := b.write("squid.names", strings.Join(names(), "\n")+"\n")
	if err != nil {
		return nil, err
	}
	hosts, err := b.write("squid.hosts", "127.0.0.1 "+allowedName+" localhost\n")
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
`, port, list, hosts, b.dir, b.dir, b.dir, b.dir))
	if err != nil {
		return nil, err
	}
	// Squid drops root for the user proxy, who must be able to write here.
	if err := os.Chmod(b.dir, 0o777); err != nil {
		return nil, err
	}
	p, err := start(b.dir, path, "-N", "-f", config)
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	return &target{name: "Squid", version: versionOf(path, "-v"), proc: p, addr: addr, host: allowedName, refused: refusedName}, await(addr, p)
}

// startTinyproxy starts tinyproxy with the list as a filter.
func (b *bench) startTinyproxy() (*target, error) {
	path, err := exec.LookPath("tinyproxy")
	if err != nil {
		return nil, errMissing
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
`, port, b.dir, filter))
	if err != nil {
		return nil, err
	}
	p, err := start(b.dir, path, "-d", "-c", config)
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	return &target{name: "tinyproxy", version: versionOf(path, "-v"), proc: p, addr: addr, host: "localhost", refused: refusedName}, await(addr, p)
}

// startApache starts Apache with mod_proxy_connect and no list.
func (b *bench) startApache() (*target, error) {
	path, err := exec.LookPath("apache2")
	if err != nil {
		return nil, errMissing
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	var connect strings.Builder
	for _, p := range b.origins.ports() {
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
`, port, b.dir, connect.String(), modules, refusedName))
	if err != nil {
		return nil, err
	}
	p, err := start(b.dir, path, "-D", "FOREGROUND", "-f", config)
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	return &target{name: "Apache", version: versionOf(path, "-v"), proc: p, addr: addr, host: "localhost", refused: refusedName}, await(addr, p)
}

// startHAProxy starts HAProxy as a relay of bytes: no parsing, no policy.
func (b *bench) startHAProxy() (*target, error) {
	path, err := exec.LookPath("haproxy")
	if err != nil {
		return nil, errMissing
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	t := &target{name: "HAProxy (TCP)", version: versionOf(path, "-v"), addr: fmt.Sprintf("127.0.0.1:%d", port), raw: true}
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
backend reply
  server reply 127.0.0.1:%d
`, port, b.origins.reply))
	if err != nil {
		return nil, err
	}
	if t.proc, err = start(b.dir, path, "-db", "-f", config); err != nil {
		return nil, err
	}
	return t, await(t.addr, t.proc)
}

// startFloor starts this program as the simplest relay in Go: it reads a head,
// dials what stands in it, and copies with io.Copy.
func (b *bench) startFloor() (*target, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	p, err := start(b.dir, self, "-floor", addr)
	if err != nil {
		return nil, err
	}
	return &target{name: "io.Copy floor", version: "this commit", proc: p, addr: addr, host: "127.0.0.1"}, await(addr, p)
}

// serveFloor is what startFloor starts. It has no policy and no limits.
func serveFloor(addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			// Six descriptors a tunnel are soon all there are; some come back.
			time.Sleep(10 * time.Millisecond)
			continue
		}
		go relayFloor(c.(*net.TCPConn))
	}
}

func relayFloor(c *net.TCPConn) {
	defer c.Close()
	br := bufio.NewReaderSize(c, 2048)
	line, err := br.ReadString('\n')
	f := strings.Fields(line)
	if err != nil || len(f) != 3 {
		return
	}
	for line != "\r\n" {
		if line, err = br.ReadString('\n'); err != nil {
			return
		}
	}
	dialed, err := net.Dial("tcp", f[1])
	if err != nil {
		return
	}
	o := dialed.(*net.TCPConn)
	defer o.Close()
	if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(o, c)
		_ = o.CloseWrite()
		close(done)
	}()
	_, _ = io.Copy(c, o)
	_ = c.CloseWrite()
	<-done
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
