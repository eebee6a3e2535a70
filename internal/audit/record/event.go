package record

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// Kind says what a record is about. The zero Kind is none, and is not valid.
type Kind uint8

const (
	kindNone Kind = iota
	// Started is the first record of a process.
	Started
	// Reloaded says that a new policy is in force.
	Reloaded
	// ReloadFailed says that a new file was bad and the old policy stays.
	ReloadFailed
	// Heartbeat carries the totals of the records before it, and how many were lost.
	Heartbeat
	// Challenged is a request without a credential that was asked for one.
	Challenged
	// Refused is a request that was not let through.
	Refused
	// Opened is a request that was let through.
	Opened
	// Closed is the end of what Opened began.
	Closed
	// Answered is a DNS question.
	Answered
	// Stopped is the last record of a process; it carries the totals.
	Stopped
	// Flood says that a function, or a source without one, is refused more often
	// than its budget allows, and later that this has ended and how many refusals
	// shared a record. The log writes it by itself.
	Flood
	// Expired says that a rule, or the report mode of a function, has come to its end.
	Expired
	kindCount
)

// kindNames are the words of the event field.
var kindNames = [kindCount]string{
	kindNone: "unknown", Started: "started", Reloaded: "reloaded", ReloadFailed: "reload_failed",
	Heartbeat: "heartbeat", Challenged: "challenged", Refused: "refused", Opened: "opened",
	Closed: "closed", Answered: "answered", Stopped: "stopped",
	Flood: "flood", Expired: "expired",
}

// String returns the word of the event field, "unknown" for what is not a Kind.
func (k Kind) String() string {
	if k < kindCount {
		return kindNames[k]
	}
	return kindNames[kindNone]
}

// Valid reports whether k is one of the constants.
func (k Kind) Valid() bool { return k > kindNone && k < kindCount }

// IsRequest reports whether records of k are about a request.
func (k Kind) IsRequest() bool { return k >= Challenged && k <= Answered }

// ID names a request within one process. The zero ID is none.
type ID uint64

// AppendTo appends what follows the process in the id field.
func (id ID) AppendTo(dst []byte) []byte {
	return strconv.AppendUint(append(dst, '-'), uint64(id), 16)
}

// Event is what one record says. The encoder caps and escapes every text. A zero field of a request is printed as null, but for
// Verdict and the counts.
type Event struct {
	Kind   Kind
	Policy string // the policy's hash, 12 hex digits; "": none is loaded yet

	// The fields below are of requests.

	ID        ID
	Protocol  string         // connect, http or dns
	Client    netip.AddrPort // printed unmapped and without a zone
	Function  string
	Owner     string
	Via       string // how the caller was identified: certificate, token, aws or source
	Method    string // as the client sent it
	Host      string // canonical; where parsing failed, what the client sent
	Port      uint16
	Verdict   verdict.Verdict // the zero value is deny
	Reason    verdict.Reason
	Rule      policy.Rule    // gives rule, line and ticket
	Addresses []netip.Addr   // what the host resolved to; the first 32 are printed
	Stale     bool           // those have outlived their TTL, because no upstream answered in time; printed when true
	Dialed    netip.AddrPort // where the connection went
	SNI       string
	HasSNI    bool // a ClientHello with a server name was seen; SNI "" is then not null
	Aggregate bool // a refusal that shares a record with others like it, as one beyond the budget does
	// Claimed is the function of the policy that a credential which does not hold was
	// shown for; DialError why a dial failed, in a word; Shed what there was too little
	// of. They are printed where they are not "".
	Claimed, DialError, Shed string
	// Principal is the ARN that a token of AWS which has been verified names, TokenID its
	// jti. They are printed where they are not "".
	Principal, TokenID string
	Suppressed         uint64 // further events like this one that get no record of their own; printed when > 0

	// The fields below are of Closed.

	BytesUp   int64 // from the client to the origin
	BytesDown int64
	Duration  time.Duration // printed in milliseconds with three decimals
	Ended     string        // client, origin, idle, lifetime, revoked, shutdown or error

	QType string // of Answered: the type that was asked for

	// The fields below are of Started, Reloaded and ReloadFailed; Flood and
	// Expired have Detail, Function and Owner, a Flood of a source that as Client.

	Functions int
	Rules     int
	Detail    string // what happened, for people; "": null

	// The fields below are of Reloaded.

	Was          string   // the hash of the policy before
	Gained, Lost int      // rules, of all functions
	Changes      []Change // of each function that differs; as many are printed as there is room for
}

// Change is how many rules a function has gained and lost.
type Change struct {
	Function     string
	Gained, Lost int
}
