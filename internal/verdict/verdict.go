// Package verdict has the words for what becomes of a request: Verdict, and
// Reason with the one table of what each reason means everywhere: to an HTTP
// client, a TLS client, a resolver, a security lake, and the person who reads it.
//
// It decides nothing. Packages that do return a Reason; packages that answer,
// record or count one read its Row. What is exact about one malformed message (a
// 431, a BADVERS) stays with the front that has read it.
//
//	if d.Verdict == verdict.Deny { … d.Reason.Row().Status … }
//
// To add a reason, add a constant, its row, and its line in docs/decision.md; a test
// names each column that is missing.
package verdict

// Verdict is what becomes of a request. The zero value refuses.
type Verdict uint8

const (
	// Deny refuses the request.
	Deny Verdict = iota
	// Report lets the request through and records that it would be refused.
	Report
	// Allow lets the request through.
	Allow
)

// String returns the word that records and metrics use: deny, report or allow. An
// unknown value is a deny.
func (v Verdict) String() string {
	switch v {
	case Allow:
		return "allow"
	case Report:
		return "report"
	default:
		return "deny"
	}
}
