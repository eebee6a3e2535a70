package main

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// The pair of listen.tls lies beside the policy in S3, where whoever renews it puts it, one
// object after the other. Tasks take a renewed pair without a restart; while one of the two
// is new alone, and where what was put is none, the pair before stays in force.
func TestCertificateInS3IsReadAgainWhenItChanges(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	b, authority := newBucket(t), egresstest.NewAuthority(t)
	first, second := authority.Issue("proxy.test"), authority.Issue("proxy.test")
	put := func(c tls.Certificate, parts ...string) {
		certificate, key := egresstest.PEM(t, c)
		for _, part := range parts {
			b.put("policies/tls."+part, map[string]string{"crt": string(certificate), "key": string(key)}[part])
		}
	}
	put(first, "crt", "key")
	b.put(object, w.fill(strings.Replace(only("before.test"), "listen: {", "listen: {tls: {address: \"127.0.0.1:0\", certificate: tls.crt, key: tls.key}, ", 1)))
	p := w.startBucket(b)
	address := ""
	for _, line := range p.logs() {
		if line["msg"] == "serving" {
			address, _ = line["tls"].(string)
		}
	}
	// shown returns which of the two the listener shows; "": no handshake.
	shown := func() string {
		conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: authority.Pool(), ServerName: "proxy.test"})
		if err != nil {
			return ""
		}
		defer conn.Close()
		switch leaf := conn.ConnectionState().PeerCertificates[0]; {
		case leaf.Equal(first.Leaf):
			return "first"
		case leaf.Equal(second.Leaf):
			return "second"
		default:
			return "another"
		}
	}
	if got := shown(); got != "first" {
		t.Fatalf("at the start the listener shows %q", got)
	}
	put(second, "crt")
	w.eventually("a certificate without its key is recorded", func() bool { return len(p.of("reload_failed")) == 1 })
	if got := shown(); got != "first" {
		t.Errorf("with half of a pair the listener shows %q", got)
	}
	put(second, "key")
	w.eventually("the renewed pair is in force", func() bool { return shown() == "second" })
	b.put("policies/tls.crt", "none")
	w.eventually("what is no certificate is recorded", func() bool { return len(p.of("reload_failed")) == 2 })
	if got := shown(); got != "second" {
		t.Errorf("without a pair the listener shows %q", got)
	}
	if !p.allows("before.test") {
		t.Error("the policy is no longer in force")
	}
}
