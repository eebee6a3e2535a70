package record

// member numbers the members that are known, for what has been seen.
type member uint8

const (
	memberOther member = iota
	memberAWS
	memberTime
	memberEvent
	memberProcess
	memberSeq
	memberPrev
	memberPolicy
	memberVersion
	memberProtocol
	memberID
	memberClient
	memberFunction
	memberOwner
	memberVia
	memberMethod
	memberHost
	memberPort
	memberVerdict
	memberReason
	memberRule
	memberLine
	memberTicket
	memberAddresses
	memberDialed
	memberSNI
	memberSuppressed
	memberBytesUp
	memberBytesDown
	memberDuration
	memberEnded
	memberType
	memberFunctions
	memberRules
	memberDetail
	memberTotals
	memberLost
	memberCount
)

// required are the members that make a record of an object.
const required = 1<<memberEvent | 1<<memberProcess | 1<<memberSeq | 1<<memberPrev

// memberKeys are the keys of the members.
var memberKeys = [memberCount]string{
	memberAWS: "_aws", memberTime: "time", memberEvent: "event", memberProcess: "boot", memberSeq: "seq", memberPrev: "prev",
	memberPolicy: "policy", memberVersion: "version", memberProtocol: "protocol", memberID: "id", memberClient: "client",
	memberFunction: "function", memberOwner: "owner", memberVia: "via", memberMethod: "method", memberHost: "host",
	memberPort: "port", memberVerdict: "verdict", memberReason: "reason", memberRule: "rule", memberLine: "line",
	memberTicket: "ticket", memberAddresses: "addresses", memberDialed: "dialed", memberSNI: "sni",
	memberSuppressed: "suppressed", memberBytesUp: "bytes_up", memberBytesDown: "bytes_down",
	memberDuration: "duration_ms", memberEnded: "ended", memberType: "type", memberFunctions: "functions",
	memberRules: "rules", memberDetail: "detail", memberTotals: "totals", memberLost: "lost",
}

// order finds members by their keys. It looks first behind the one before: that
// is where a record has it, and nearly always the only look.
type order struct{ before member }

// of returns the member of a key.
func (o *order) of(key []byte) member {
	for range memberCount {
		if o.before++; o.before == memberCount {
			o.before = memberOther
		}
		if string(key) == memberKeys[o.before] {
			return o.before
		}
	}
	return memberOther
}
