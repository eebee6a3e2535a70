package gate

// Front is a way by which requests come in. The zero Front has no steps and refuses.
type Front uint8

// The fronts.
const (
	_       Front = iota
	Connect       // HTTP CONNECT
	Plain         // a plain HTTP request
)

// step is one question of a decision: it refuses, needs something, or goes on.
type step = func(*Decision) Need

// lookupStep is a step of a decision about a DNS question.
type lookupStep = func(*LookupDecision) Need

// The orders: which steps a front walks, and in which order. The whole decision is
// here. A name is looked up only behind decide, so that one that is refused never is;
// what cannot be recorded is stopped before anything is dialed. A plain request is
// recorded before its dial, because dial and request are one step of its transport. Of
// a DNS question everything up to records stands before the cache, for every client;
// its source is found first, because every record has it.
var (
	connectOrder = []step{
		(*Decision).connectTarget, (*Decision).identify, (*Decision).admit, (*Decision).decide,
		(*Decision).lookup, (*Decision).aliases, (*Decision).addresses, (*Decision).recordable,
		(*Decision).dial, (*Decision).open, (*Decision).hello, (*Decision).reopen, (*Decision).tunnel,
	}
	plainOrder = []step{
		(*Decision).plainTarget, (*Decision).content, (*Decision).identify, (*Decision).admit, (*Decision).decide,
		(*Decision).clear, (*Decision).lookup, (*Decision).aliases, (*Decision).addresses, (*Decision).recordable,
		(*Decision).open, (*Decision).forward,
	}
	lookupOrder = []lookupStep{
		(*LookupDecision).source, (*LookupDecision).name, (*LookupDecision).identify, (*LookupDecision).decide,
		(*LookupDecision).limitNames, (*LookupDecision).recordType, (*LookupDecision).records, (*LookupDecision).aliases,
		(*LookupDecision).addresses, (*LookupDecision).record, (*LookupDecision).answer,
	}
)

// stepsOf returns the steps of a front; none for one that is not known.
func stepsOf(f Front) []step {
	switch f {
	case Connect:
		return connectOrder
	case Plain:
		return plainOrder
	default:
		return nil
	}
}
