package policy_test

import (
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

func TestAWildcardIsAsWideAsThePublicSuffixListSays(t *testing.T) {
	suffixes := policy.NewSuffixes()
	for _, c := range []struct {
		pattern string
		want    policy.Breadth
	}{
		// Over a suffix of a registry.
		{"*.com", policy.BreadthRegistry}, {"*.co.uk", policy.BreadthRegistry}, {"*.uk", policy.BreadthRegistry}, {"*.org", policy.BreadthRegistry},
		{"*.ck", policy.BreadthRegistry}, {"*.co.ck", policy.BreadthRegistry}, {"*.kobe.jp", policy.BreadthRegistry}, {"*.any.kobe.jp", policy.BreadthRegistry},
		{"*.公司.cn", policy.BreadthRegistry}, {"*.рф", policy.BreadthRegistry}, {"*.arpa", policy.BreadthRegistry}, {"*.k12.ca.us", policy.BreadthRegistry},
		// Over a name that is no suffix but has suffixes of a registry below it.
		{"*.za", policy.BreadthRegistry}, {"*.nordland.no", policy.BreadthRegistry},
		// Over a suffix where anyone can rent a name, or above one.
		{"*.github.io", policy.BreadthShared}, {"*.s3.amazonaws.com", policy.BreadthShared}, {"*.s3.eu-west-1.amazonaws.com", policy.BreadthShared},
		{"*.amazonaws.com", policy.BreadthShared}, {"*.eu-west-1.amazonaws.com", policy.BreadthShared}, {"*.cloudfront.net", policy.BreadthShared},
		{"*.compute.amazonaws.com", policy.BreadthShared}, {"*.eu-west-1.compute.amazonaws.com", policy.BreadthShared},
		{"*.elb.amazonaws.com", policy.BreadthShared}, {"*.eu-west-1.elb.amazonaws.com", policy.BreadthShared},
		{"*.execute-api.eu-west-1.amazonaws.com", policy.BreadthShared}, {"*.lambda-url.eu-west-1.on.aws", policy.BreadthShared}, {"*.on.aws", policy.BreadthShared},
		{"*.azurewebsites.net", policy.BreadthShared}, {"*.herokuapp.com", policy.BreadthShared}, {"*.appspot.com", policy.BreadthShared},
		// Over a top-level label that is on no list.
		{"*.internal", policy.BreadthShared}, {"*.localhost", policy.BreadthShared}, {"*.test", policy.BreadthShared},
		// Over the names of one registrant.
		{"*.example.com", policy.BreadthOne}, {"*.example.co.uk", policy.BreadthOne}, {"*.a.b.example.com", policy.BreadthOne},
		{"*.someone.github.io", policy.BreadthOne}, {"*.bucket.s3.amazonaws.com", policy.BreadthOne},
		{"*.ec2-1.eu-west-1.compute.amazonaws.com", policy.BreadthOne}, {"*.corp.internal", policy.BreadthOne},
		{"*.www.ck", policy.BreadthOne}, {"*.city.kobe.jp", policy.BreadthOne}, {"*.a.city.kobe.jp", policy.BreadthOne}, {"*.mine.any.kobe.jp", policy.BreadthOne},
		// No wildcard.
		{"com", policy.BreadthOne}, {"github.io", policy.BreadthOne}, {"example.com", policy.BreadthOne},
	} {
		if got := suffixes.Breadth(mustPattern(c.pattern)); got != c.want {
			t.Errorf("Breadth(%s) = %d, want %d", c.pattern, got, c.want)
		}
	}
}

func TestWithoutAListEveryWildcardIsOverARegistry(t *testing.T) {
	var none *policy.Suffixes
	for _, s := range []*policy.Suffixes{none, {}} {
		if got := s.Breadth(mustPattern("*.example.com")); got != policy.BreadthRegistry {
			t.Errorf("Breadth(*.example.com) = %d", got)
		}
		if got := s.Breadth(mustPattern("example.com")); got != policy.BreadthOne {
			t.Errorf("Breadth(example.com) = %d", got)
		}
	}
	if got := policy.NewSuffixes().Breadth(policy.Pattern{}); got != policy.BreadthRegistry {
		t.Errorf("Breadth of the zero Pattern = %d", got)
	}
}
