package policy_test

import (
	"fmt"
	"regexp"
	"testing"
	"time"

	psl "github.com/weppos/publicsuffix-go/publicsuffix"
)

// suffixListMaxAge is how old the Public Suffix List may get: the list decides
// which wildcards are over names of one registrant, and new suffixes are not on an
// old one.
const suffixListMaxAge = 365 * 24 * time.Hour

// suffixListFault returns what is to be done about a list of that version, nil for
// nothing.
func suffixListFault(version string, now time.Time) error {
	m := regexp.MustCompile(`\((.+)\)$`).FindStringSubmatch(version)
	if m == nil {
		return fmt.Errorf("the Public Suffix List says %q, which has no date; read it from where weppos/publicsuffix-go has it now", version)
	}
	of, err := time.Parse(time.ANSIC, m[1])
	if err != nil {
		return fmt.Errorf("the date of the Public Suffix List: %w", err)
	}
	if age := now.Sub(of); age > suffixListMaxAge {
		return fmt.Errorf("the Public Suffix List is of %s, %d days old: run \"go get github.com/weppos/publicsuffix-go@latest\" "+
			"(@main where no release has a newer list), then \"go test ./internal/policy ./config\"", of.Format(time.DateOnly), age/(24*time.Hour))
	}
	return nil
}

func TestPublicSuffixListIsNotOlderThanAYear(t *testing.T) {
	if err := suffixListFault(psl.ListVersion, time.Now()); err != nil {
		t.Error(err)
	}
}

func TestOldPublicSuffixListIsTold(t *testing.T) {
	now := time.Date(2026, time.June, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		version string
		fault   bool
	}{
		{"PSL version 7ef638 (Mon Mar  2 12:22:01 2026)", false},
		{"PSL version 7ef638 (Sun Jun  1 00:00:00 2025)", false},
		{"PSL version 7ef638 (Sat May 31 23:59:59 2025)", true},
		{"PSL version 7ef638", true},
		{"PSL version 7ef638 (yesterday)", true},
	} {
		if err := suffixListFault(tt.version, now); (err != nil) != tt.fault {
			t.Errorf("%s: %v", tt.version, err)
		}
	}
}
