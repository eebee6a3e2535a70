package hostname_test

import (
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

// mustPattern parses a pattern that the test knows to be good.
func mustPattern(s string) hostname.Pattern {
	p, err := hostname.ParsePattern(s)
	if err != nil {
		panic(s + ": " + err.Error())
	}
	return p
}

func TestAWildcardIsAsWideAsThePublicSuffixListSays(t *testing.T) {
	suffixes := hostname.NewSuffixes()
	for _, c := range []struct {
		pattern string
		want    hostname.WildcardScope
	}{
		// Over a suffix of a registry.
		{"*.com", hostname.ScopeRegistry}, {"*.co.uk", hostname.ScopeRegistry}, {"*.uk", hostname.ScopeRegistry}, {"*.org", hostname.ScopeRegistry},
		{"*.ck", hostname.ScopeRegistry}, {"*.co.ck", hostname.ScopeRegistry}, {"*.kobe.jp", hostname.ScopeRegistry}, {"*.any.kobe.jp", hostname.ScopeRegistry},
		{"*.公司.cn", hostname.ScopeRegistry}, {"*.рф", hostname.ScopeRegistry}, {"*.arpa", hostname.ScopeRegistry}, {"*.k12.ca.us", hostname.ScopeRegistry},
		// Over a name that is not a suffix but has suffixes of a registry below it.
		{"*.za", hostname.ScopeRegistry}, {"*.nordland.no", hostname.ScopeRegistry},
		// Over a suffix where anyone can rent a name, or above one.
		{"*.github.io", hostname.ScopeShared}, {"*.s3.amazonaws.com", hostname.ScopeShared}, {"*.s3.eu-west-1.amazonaws.com", hostname.ScopeShared},
		{"*.amazonaws.com", hostname.ScopeShared}, {"*.eu-west-1.amazonaws.com", hostname.ScopeShared}, {"*.cloudfront.net", hostname.ScopeShared},
		{"*.compute.amazonaws.com", hostname.ScopeShared}, {"*.eu-west-1.compute.amazonaws.com", hostname.ScopeShared},
		{"*.elb.amazonaws.com", hostname.ScopeShared}, {"*.eu-west-1.elb.amazonaws.com", hostname.ScopeShared},
		{"*.execute-api.eu-west-1.amazonaws.com", hostname.ScopeShared}, {"*.lambda-url.eu-west-1.on.aws", hostname.ScopeShared}, {"*.on.aws", hostname.ScopeShared},
		{"*.azurewebsites.net", hostname.ScopeShared}, {"*.herokuapp.com", hostname.ScopeShared}, {"*.appspot.com", hostname.ScopeShared},
		// Over a top-level label that is on no list.
		{"*.internal", hostname.ScopeShared}, {"*.localhost", hostname.ScopeShared}, {"*.test", hostname.ScopeShared},
		// Over the names of one registrant.
		{"*.example.com", hostname.ScopeOne}, {"*.example.co.uk", hostname.ScopeOne}, {"*.a.b.example.com", hostname.ScopeOne},
		{"*.someone.github.io", hostname.ScopeOne}, {"*.bucket.s3.amazonaws.com", hostname.ScopeOne},
		{"*.ec2-1.eu-west-1.compute.amazonaws.com", hostname.ScopeOne}, {"*.corp.internal", hostname.ScopeOne},
		{"*.www.ck", hostname.ScopeOne}, {"*.city.kobe.jp", hostname.ScopeOne}, {"*.a.city.kobe.jp", hostname.ScopeOne}, {"*.mine.any.kobe.jp", hostname.ScopeOne},
		// No wildcard.
		{"com", hostname.ScopeOne}, {"github.io", hostname.ScopeOne}, {"example.com", hostname.ScopeOne},
	} {
		if got := suffixes.WildcardScope(mustPattern(c.pattern)); got != c.want {
			t.Errorf("WildcardScope(%s) = %d, want %d", c.pattern, got, c.want)
		}
	}
}

func TestWithoutAListEveryWildcardIsOverARegistry(t *testing.T) {
	var none *hostname.Suffixes
	for _, s := range []*hostname.Suffixes{none, {}} {
		if got := s.WildcardScope(mustPattern("*.example.com")); got != hostname.ScopeRegistry {
			t.Errorf("WildcardScope(*.example.com) = %d", got)
		}
		if got := s.WildcardScope(mustPattern("example.com")); got != hostname.ScopeOne {
			t.Errorf("WildcardScope(example.com) = %d", got)
		}
	}
	if got := hostname.NewSuffixes().WildcardScope(hostname.Pattern{}); got != hostname.ScopeRegistry {
		t.Errorf("WildcardScope of the zero Pattern = %d", got)
	}
}
