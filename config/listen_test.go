package config

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
)

func TestLeafIsTheCertificateOfTheListener(t *testing.T) {
	cfg, _ := full(t)
	if leaf := cfg.Listen.TLS.Leaf(); leaf == nil || !bytes.Equal(leaf.Raw, cfg.Listen.TLS.Certificate.Certificate[0]) {
		t.Errorf("Leaf = %v", leaf)
	}
	if leaf := parse(t, minimal).Listen.TLS.Leaf(); leaf != nil {
		t.Errorf("without such a listener it is %v", leaf)
	}
}

// A pool that skipped what it does not understand would trust fewer than the file says.
func TestEveryBlockOfTheAuthoritiesHasToBeACertificate(t *testing.T) {
	const policy = `version: 1
listen: {tls: {address: "127.0.0.1:0", certificate: tls.crt, key: tls.key, client_ca: ca.pem}}
functions: {a: {identify: {certificates: ["a!b~c"]}, allow: []}}
`
	open := openIn(t, "")
	good, key := egresstest.PEM(t, egresstest.SelfSigned(t, "authority"))
	block, _ := pem.Decode(good)
	block.Type = "TRUSTED CERTIFICATE"
	other := pem.EncodeToMemory(block)
	garbage := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})
	for name, c := range map[string]struct {
		file []byte
		bad  int // the number of the block that is none
	}{
		"one":                      {good, 0},
		"two":                      {bytes.Repeat(good, 2), 0},
		"another kind":             {other, 1},
		"another kind behind":      {bytes.Join([][]byte{good, good, other}, nil), 3},
		"a key behind":             {append(bytes.Clone(good), key...), 2},
		"no certificate in it":     {append(bytes.Clone(good), garbage...), 2},
		"no certificate before it": {append(bytes.Clone(garbage), good...), 1},
	} {
		cfg, err := Parse("egress.yaml", []byte(policy), func(path string) ([]byte, error) {
			if path == "ca.pem" {
				return c.file, nil
			}
			return open(path)
		})
		want := fmt.Sprintf("listen.tls.client_ca: block %d of the file is no certificate", c.bad)
		if c.bad == 0 && (err != nil || cfg.Listen.TLS.ClientCA == nil) || c.bad > 0 && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want block %d", name, err, c.bad)
		}
	}
}

// Load and Parse make none of these: whoever makes a Config without them is told.
func TestConfigThatWasNotLoadedMayNotCompile(t *testing.T) {
	twice := Function{Name: "a", Identify: identity.Entry{Function: "a", Sources: prefixes("10.0.0.0/8")}}
	other := Function{Name: "b", Identify: identity.Entry{Function: "b", Sources: prefixes("10.0.0.0/8")}}
	for want, functions := range map[string][]Function{
		"compiling the policy: ":  {twice, twice},
		"compiling the callers: ": {twice, other},
	} {
		pol, table, err := (&Config{Functions: functions}).Compile()
		if pol != nil || table != nil || err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s…", err, want)
		}
	}
}
