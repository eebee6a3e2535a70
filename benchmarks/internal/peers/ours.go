package peers

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/handshake"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/load"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/process"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/standin"
)

// policyFile writes the file of our own proxy: 1,000 functions with a token
// each, a shared list of 1,001 names, every check on, records to a file. A plain
// request needs a rule that wants no TLS. What only newer builds have is beside it.
func (b *Bench) policyFile(name, addr, admin, set string, with newer) (string, error) {
	var y strings.Builder
	secure, err := b.secureListener(with.tls)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(&y, "version: 1\nlisten: {proxy: %q, admin: %q%s}\ndns: {upstreams: [%q], families: ip4}\naudit: {output: %q}\n",
		addr, admin, secure, b.Servers.dns, filepath.Join(b.Dir, name+".records"))
	fmt.Fprintf(&y, "limits: {tunnels: 20000, tunnels_per_function: 20000, refusal_records: 1000000000}\n")
	fmt.Fprintf(&y, "sets:\n  list: {file: %q}\nfunctions:\n", set)
	plain := b.Servers.Origins.HTTP
	tunneled := strings.Join(strings.Fields(fmt.Sprint(slices.DeleteFunc(b.Servers.Origins.Ports(), func(p uint16) bool { return p == plain }))), ", ")
	for i := range 1000 {
		fmt.Fprintf(&y, "  function-%d:\n    identify: {tokens: [\"sha256:%x\"]}\n    allow:\n", i, sha256.Sum256(fmt.Appendf(nil, "token-%d", i)))
		fmt.Fprintf(&y, "      - {set: list, ports: %s}\n      - {host: %s, ports: %s, addresses: [127.0.0.0/8]}\n", tunneled, load.AllowedName, tunneled)
		fmt.Fprintf(&y, "      - {host: %s, ports: [%d], addresses: [127.0.0.0/8], tls: any}\n", load.AllowedName, plain)
	}
	if issuer := with.issuer; issuer != nil {
		keys, err := b.write(name+".jwks.json", string(issuer.JWKS()))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&y, "  attested:\n    identify: {aws: [\"arn:aws:lambda:eu-west-1:%s:function:attested\"]}\n    allow:\n      - {set: list, ports: %s}\n      - {host: %s, ports: %[2]s, addresses: [127.0.0.0/8]}\n",
			issuer.Account, tunneled, load.AllowedName)
		fmt.Fprintf(&y, "aws:\n  audience: %s\n  max_lifetime: 1h\n  accounts: {%q: {issuer: %q, keys: %q}}\n", audience, issuer.Account, issuer.URL, keys)
	}
	return b.write(name+".yaml", y.String())
}

// newer is what older builds of ours are not started with.
type newer struct {
	issuer *standin.Issuer // one function more is known by its tokens; nil: none is
	tls    string          // the TLS listener's address; "": there is none
}

// secureListener writes a certificate, and returns what the policy file says of the
// listener.
func (b *Bench) secureListener(addr string) (string, error) {
	if addr == "" {
		return "", nil
	}
	certificate, key, err := handshake.PEM("proxy.bench.test")
	if err != nil {
		return "", err
	}
	chain, err := b.write("tls.crt", string(certificate))
	if err != nil {
		return "", err
	}
	private, err := b.write("tls.key", string(key))
	return fmt.Sprintf(", tls: {address: %q, certificate: %q, key: %q}", addr, chain, private), err
}

// audience is whom tokens of AWS are for.
const audience = "https://egress.example"

// startWhole starts our proxy with one function more, which AWS attests, and a TLS listener.
func (b *Bench) startWhole() (*load.Target, error) {
	issuer, err := standin.New("111122223333", "https://issuer.example")
	if err != nil {
		return nil, err
	}
	set, err := b.listed()
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	secure := fmt.Sprintf("127.0.0.1:%d", port)
	t, err := b.startOursWith("ours", set, newer{issuer, secure})
	if t != nil {
		t.TLS = secure
		t.Attest = func() string {
			return issuer.Token(issuer.Function("eu-west-1", "attested", audience, time.Now(), time.Hour))
		}
	}
	return t, err
}

// StartOurs starts our proxy as older builds of it can be started too.
func (b *Bench) StartOurs() (*load.Target, error) {
	set, err := b.listed()
	if err != nil {
		return nil, err
	}
	return b.startOursWith("ours", set, newer{})
}

// listed writes the file of the list's names, but for the allowed one.
func (b *Bench) listed() (string, error) {
	listed := strings.ReplaceAll(strings.Join(names(), "\n"), load.AllowedName, "other."+load.AllowedName)
	return b.write("names.txt", listed+"\n")
}

// startOursWith starts our proxy with a list of its own, and with what newer builds have.
func (b *Bench) startOursWith(name, set string, with newer) (*load.Target, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	admin, err := freePort()
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	config, err := b.policyFile(name, addr, fmt.Sprintf("127.0.0.1:%d", admin), set, with)
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
