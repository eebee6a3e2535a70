package squid

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert"
)

// says is what a policy decides: the function by the longest range, the deny list, the rules.
func says(p *convert.Policy, source netip.Prefix, host hostname.Pattern, port uint16) bool {
	bits, function := -1, convert.Function{}
	for _, f := range p.Functions {
		for _, s := range f.Sources {
			if s.Contains(source.Addr()) && s.Bits() > bits {
				bits, function = s.Bits(), f
			}
		}
	}
	for _, d := range p.Deny {
		if convert.Covers(d, host) {
			return false
		}
	}
	for _, r := range function.Allow {
		for _, ports := range r.Ports {
			if convert.Covers(r.Pattern, host) && ports.Contains(port) {
				return true
			}
		}
	}
	return false
}

// Rules in any order, of lists that overlap: a policy says the same as they do one by one, or
// there is none.
func TestRandomRulesAreConvertedToTheSameVerdictsOrNotAtAll(t *testing.T) {
	const lists = `acl s1 src 10.0.0.0/8
acl s2 src 10.1.0.0/16 192.168.0.0/16
acl d1 dstdomain -n .a.example
acl d2 dstdomain -n b.a.example .c.a.example
acl d3 dstdomain -n z.example .b.a.example
acl p1 port 443 8000-8010
acl p2 port 8005-9000
`
	random := rand.New(rand.NewPCG(5, 6))
	words := []string{"s1", "s2", "!s2", "d1", "d2", "d3", "!d2", "d1", "p1", "!p1", "p2", "CONNECT"}
	sources := []string{"10.0.0.1/32", "10.1.0.1/32", "192.168.0.1/32", "203.0.113.1/32"}
	hosts := []string{"a.example", "x.a.example", "b.a.example", "x.b.a.example", "c.a.example", "y.x.c.a.example", "z.example", "x.z.example", "xa.example"}
	done, refused := 0, 0
	for range 400 {
		conf := lists
		for range 1 + random.IntN(4) {
			conf += []string{"http_access allow", "http_access allow", "http_access deny"}[random.IntN(3)]
			for range 1 + random.IntN(3) {
				conf += " " + words[random.IntN(len(words))]
			}
			conf += "\n"
		}
		conf += "http_access deny all\n"
		o := Options{ConnectOnly: random.IntN(2) == 0}
		p, err := Read("conf", []byte(conf), o, nil)
		if err != nil {
			refused++
			continue
		}
		done++
		r := &reader{acls: builtin()}
		r.file("conf", []byte(conf), 0)
		for _, source := range sources {
			for _, host := range hosts {
				for _, port := range []uint16{1, 443, 7999, 8000, 8007, 8011, 9000, 9001} {
					pattern, _ := hostname.ParsePattern(host)
					q := request{netip.MustParsePrefix(source), pattern, port, true}
					connect, _ := decide(r.rules, q)
					q.connect = false
					plain, _ := decide(r.rules, q)
					got := says(p, q.source, pattern, port)
					if got != connect || !o.ConnectOnly && got != plain {
						t.Fatalf("%s to %s:%d: %t, Squid: CONNECT %t, others %t\n%s", source, host, port, got, connect, plain, strings.TrimPrefix(conf, lists)+fmt.Sprintf("%+v", p))
					}
				}
			}
		}
	}
	if done < 80 || refused < 80 {
		t.Errorf("%d were converted, %d refused: the test says little", done, refused)
	}
}
