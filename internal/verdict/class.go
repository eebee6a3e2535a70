package verdict

// Class says what a refusal is a sign of, for whoever watches the proxy: what asks for
// the owner of a function, what for whoever runs the proxy, and what for neither. It is
// the one place that says so; metrics and alarms ask here.
type Class uint8

const (
	// ClassNone is no refusal.
	ClassNone Class = iota
	// ClassChallenge is the first half of showing a credential: the request comes again.
	ClassChallenge
	// ClassMalformed is a request that is wrong in itself.
	ClassMalformed
	// ClassRefused is a caller that asks for what it may not have, or is nobody.
	ClassRefused
	// ClassLimited is what the proxy lacks, or what a caller has its share of.
	ClassLimited
	// ClassOrigin was allowed, and came to nothing for the origin's, a resolver's or the
	// network's sake.
	ClassOrigin
)

// Class returns what the reason is a sign of.
func (r Reason) Class() Class {
	switch row := r.Row(); {
	case r == ReasonNone:
		return ClassNone
	case r == ReasonIdentityRequired:
		return ClassChallenge
	case row.Fault == FaultOutside:
		return ClassOrigin
	case row.Fault == FaultProxy, row.ProxyStatus == ConnectionLimitReached:
		return ClassLimited
	case row.Outcome.Disposition == Rejected:
		return ClassMalformed
	default:
		return ClassRefused
	}
}

// OfClass returns the words of the reasons of a class, in the order in which a request
// meets them.
func OfClass(c Class) (all []string) {
	for _, r := range Reasons() {
		if r.Class() == c {
			all = append(all, r.String())
		}
	}
	return all
}
