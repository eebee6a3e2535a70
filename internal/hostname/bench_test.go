package hostname_test

import (
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

// BenchmarkParseTarget measures the parsing of a request's target, in the
// canonical spelling and in others. It leaves out the HTTP parser.
func BenchmarkParseTarget(b *testing.B) {
	for kind, s := range map[string]string{
		"lower":   "api.service-7.customers.example:443",
		"upper":   "API.Service-7.customers.example.:443",
		"ipv4":    "203.0.113.7:443",
		"ipv6":    "[2001:db8::7]:443",
		"hostile": strings.Repeat("a.", 126) + "1:443",
		"alabel":  "xn--mnchen-3ya.example:443",
	} {
		b.Run("kind="+kind, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = hostname.ParseTarget(s)
			}
		})
	}
}
