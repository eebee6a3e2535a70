package peers

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/load"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/process"
)

// policyFile writes the file of our own proxy: 1,000 functions with a token
// each, a shared list of 1,001 names, every check on, records to a file. A plain
// request needs a rule that wants no TLS.
func (b *Bench) policyFile(name, addr, admin, set string) (string, error) {
	var y strings.Builder
	fmt.Fprintf(&y, "version: 1\nlisten: {proxy: %q, admin: %q}\ndns: {upstreams: [%q], families: ip4}\naudit: {output: %q}\n",
		addr, admin, b.Servers.dns, filepath.Join(b.Dir, name+".records"))
	fmt.Fprintf(&y, "limits: {tunnels: 20000, tunnels_per_function: 20000, refusal_records: 1000000000}\n")
	fmt.Fprintf(&y, "sets:\n  list: {file: %q}\nfunctions:\n", set)
	plain := b.Servers.Origins.HTTP
	tunneled := strings.Join(strings.Fields(fmt.Sprint(slices.DeleteFunc(b.Servers.Origins.Ports(), func(p uint16) bool { return p == plain }))), ", ")
	for i := range 1000 {
		fmt.Fprintf(&y, "  function-%d:\n    identify: {tokens: [\"sha256:%x\"]}\n    allow:\n", i, sha256.Sum256(fmt.Appendf(nil, "token-%d", i)))
		fmt.Fprintf(&y, "      - {set: list, ports: %s}\n      - {host: %s, ports: %s, addresses: [127.0.0.0/8]}\n", tunneled, load.AllowedName, tunneled)
		fmt.Fprintf(&y, "      - {host: %s, ports: [%d], addresses: [127.0.0.0/8], tls: any}\n", load.AllowedName, plain)
	}
	return b.write(name+".yaml", y.String())
}

// StartOurs starts our proxy.
func (b *Bench) StartOurs() (*load.Target, error) {
	listed := strings.ReplaceAll(strings.Join(names(), "\n"), load.AllowedName, "other."+load.AllowedName)
	set, err := b.write("names.txt", listed+"\n")
	if err != nil {
		return nil, err
	}
	return b.startOursWith("ours", set)
}

// startOursWith starts our proxy with a list of its own.
func (b *Bench) startOursWith(name, set string) (*load.Target, error) {
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
	p, err := process.Start(b.Dir, b.Binary, "run", "--config", config)
	if err != nil {
		return nil, err
	}
	credential := base64.StdEncoding.EncodeToString([]byte("function-500:token-500"))
	return &load.Target{
		Name: "this proxy", Version: versionOf(b.Binary, "version"), Proc: p, Addr: addr,
		Host: load.AllowedName, Refused: load.RefusedName, Auth: "Proxy-Authorization: Basic " + credential + "\r\n",
	}, p.Await(addr)
}
