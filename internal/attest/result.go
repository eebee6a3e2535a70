package attest

import "fmt"

// Result says how the verification of a token has ended: that it holds, or which check
// it has failed. It is for the operator's log and metrics; callers are told nothing of
// it. The zero Result refuses.
type Result uint8

// The results, in the order of the checks.
const (
	Malformed         Result = iota // too long, not three parts of strict base64url, or not JSON as it has to be
	BadAlgorithm                    // not one of those that are allowed, or not that of the key
	Critical                        // the header has crit: something that we would have to understand
	Duplicate                       // an object of the JSON has a member twice
	UnknownIssuer                   // iss is none of ours
	NoKeys                          // there are no keys of the issuer
	UnknownKey                      // the issuer has no key of that kid
	BadSignature                    // the key has not signed it
	WrongAudience                   // aud is for somebody else
	Expired                         // exp has come
	NotYetIssued                    // iat is in the future
	TooLong                         // exp - iat is more than is allowed, or not positive
	WrongAccount                    // the accounts of issuer, claims and ARNs are not one
	WrongOrganization               // org_id is another one, or not there
	NoPrincipal                     // neither a function nor a role is named as it has to be
	Verified                        // it holds
	resultCount
)

// resultNames are the results in metrics and the log.
var resultNames = [resultCount]string{
	"malformed", "algorithm", "critical", "duplicate", "issuer", "no_keys", "key", "signature", "audience",
	"expired", "not_yet_issued", "lifetime", "account", "organization", "principal", "verified",
}

// String returns the snake_case word.
func (r Result) String() string {
	if r < resultCount {
		return resultNames[r]
	}
	return fmt.Sprintf("result_%d", uint8(r))
}

// Results returns every result there is.
func Results() []Result {
	all := make([]Result, 0, resultCount)
	for r := range resultCount {
		all = append(all, r)
	}
	return all
}
