package lint

import (
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

func TestHostsThatAnyoneCanWriteToArePatternsEachWithReasonAndCure(t *testing.T) {
	seen := map[string]bool{}
	for _, w := range writables {
		p, err := hostname.ParsePattern(strings.Replace(w.Host, "REGION", "eu-west-1", 1))
		if err != nil || seen[w.Host] || w.Reason == "" || w.Narrower == "" {
			t.Errorf("%+v: %v, seen before: %v", w, err, seen[w.Host])
			continue
		}
		seen[w.Host] = true
		if got := writableBy(p); got == nil || got.Host != w.Host {
			t.Errorf("%s is found as %+v", p, got)
		}
	}
	if len(seen) < 40 {
		t.Errorf("there are %d, under 40", len(seen))
	}
}

func TestAPatternIsAsWideAsWhatItCovers(t *testing.T) {
	for pattern, want := range map[string]string{
		"*.github.com":                        "api.github.com",
		".api.github.com":                     "api.github.com",
		".blob.core.windows.net":              "*.blob.core.windows.net",
		"*.amazonaws.com":                     "s3.amazonaws.com",
		"*.eu-west-1.amazonaws.com":           "s3.REGION.amazonaws.com",
		"*.dualstack.eu-west-1.amazonaws.com": "s3.dualstack.REGION.amazonaws.com",
		"*.windows.net":                       "*.blob.core.windows.net",
		"*.core.windows.net":                  "*.blob.core.windows.net",
		"*.blob.core.windows.net":             "*.blob.core.windows.net",
		"x.blob.core.windows.net":             "",
		"*.x.blob.core.windows.net":           "",
		"blob.core.windows.net":               "",
		"bucket.s3.eu-west-1.amazonaws.com":   "",
		"*.s3.eu-west-1.amazonaws.com":        "",
		"s3.eu-west-1.amazonaws.com.cn":       "",
		"api.github.com.evil.example":         "",
		"*.api.github.com":                    "",
	} {
		p, err := hostname.ParsePattern(pattern)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if w := writableBy(p); w != nil {
			got = w.Host
		}
		if got != want {
			t.Errorf("%s opens %q, want %q", pattern, got, want)
		}
	}
}
