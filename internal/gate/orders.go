package gate

// Front is a way by which requests come in. The zero Front has no steps and refuses.
type Front uint8

// The fronts.
const (
	_       Front = iota
	Connect       // HTTP CONNECT
	Plain         // a plain HTTP request
)

// Need is what a decision needs next, or how it has ended. The zero Need is a refusal.
type Need uint8

// The needs. Whoever drives a decision brings what is asked for, by Give where nothing
// else is named: verdict.ReasonNone goes on, any other reason refuses.
const (
	// Refused: the request is refused; Reason and Cause say why.
	Refused Need = iota
	// Token: a token of AWS has been shown, Attested. GivePrincipal brings whom it names,
	// Give why that could not be found out.
	Token
	// Failure: a credential was shown and does not hold. Give brings the reason that it
	// is refused with, which says whether its source has shown too many of them.
	Failure
	// Slot: the caller is known. Give says whether there is room for it.
	Slot
	// Names: a wildcard has the name. GiveNames says whether there is room for another
	// one below it.
	Names
	// Lookup: the host has to be resolved. GiveAddresses brings what was found, Give
	// why nothing was.
	Lookup
	// Recordable: Give says whether a record could be written now, before anything is
	// dialed.
	Recordable
	// Dial: one of Addresses has to be connected to; Permits is asked again at connect(2).
	Dial
	// Open: Event has to be recorded as opened; after it the first byte may flow.
	Open
	// Hello: the client's first bytes have to be read. GiveHello brings them.
	Hello
	// Forward: a plain request may be sent. The decision is over.
	Forward
	// Tunnel: bytes may flow. The decision is over.
	Tunnel

	// Of a DNS question alone:

	// Records: the resolver has to be asked. GiveAnswer or GiveStored brings its answer.
	Records
	// Record: Event has to be recorded, where answers are. Give says whether it was.
	Record
	// Answer: the answer may be sent. The decision is over.
	Answer

	goOn // of a step: nothing
)

// step is one question of a decision: it refuses, needs something, or goes on.
type step = func(*Decision) Need

// lookupStep is a step of a decision about a DNS question.
type lookupStep = func(*LookupDecision) Need

// The orders: which steps a front walks, and in which order. The whole decision is
// here. A name is looked up only behind decide and limitNames, so that one that is refused never is;
// what cannot be recorded is stopped before anything is dialed. A plain request is
// recorded before its dial, because dial and request are one step of its transport. Of
// a DNS question everything up to records stands before the cache, for every client;
// its source is found first, because every record has it.
var (
	connectOrder = []step{
		(*Decision).connectTarget, (*Decision).credential, (*Decision).identify, (*Decision).admit, (*Decision).decide,
		(*Decision).limitNames, (*Decision).lookup, (*Decision).aliases, (*Decision).addresses, (*Decision).recordable,
		(*Decision).dial, (*Decision).open, (*Decision).hello, (*Decision).reopen, (*Decision).tunnel,
	}
	plainOrder = []step{
		(*Decision).plainTarget, (*Decision).credential, (*Decision).identify, (*Decision).admit, (*Decision).decide,
		(*Decision).clear, (*Decision).limitNames, (*Decision).lookup, (*Decision).aliases, (*Decision).addresses,
		(*Decision).recordable, (*Decision).open, (*Decision).forward,
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
