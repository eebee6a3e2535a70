package audit

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// Total is how many events of one kind had one outcome since the start.
type Total struct {
	Kind    Kind
	Verdict verdict.Verdict
	Reason  verdict.Reason
	Count   uint64 // records, and the events that they stand for as suppressed
}

// Totals returns the totals of the requests recorded so far, sorted by kind,
// verdict and reason. Records of the write under way are in it.
func (l *Log) Totals() []Total {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tally.sorted()
}

// Lost returns how many events have no record because the output failed: the
// value of egress_audit_lost_total. A heartbeat that could not be written is
// not among them, the next one says all that it said.
func (l *Log) Lost() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tally.lost
}

// tally is what the lines of the stream add up to.
type tally struct {
	counts map[tallyKey]uint64
	lost   uint64
}

// tallyKey is what a tally tells apart.
type tallyKey struct {
	kind    Kind
	verdict verdict.Verdict
	reason  verdict.Reason
}

// mark is what must be known of a line to take it back.
type mark struct {
	end    int      // where the line ends in its batch, newline included
	key    tallyKey // the zero key: not a request
	weight uint64   // how many events are lost with the line
}

// newMark returns the mark of an event; its end is not set.
func newMark(e *Event) mark {
	m := mark{}
	if e.Kind != Heartbeat {
		m.weight = 1 + e.Suppressed
	}
	if e.Kind.request() {
		m.key = tallyKey{e.Kind, e.Verdict, e.Reason}
	}
	return m
}

// add counts a line.
func (t *tally) add(m mark) {
	if m.key != (tallyKey{}) {
		t.counts[m.key] += m.weight
	}
}

// remove counts a line as lost that was added.
func (t *tally) remove(m mark) {
	t.lost += m.weight
	if m.key == (tallyKey{}) {
		return
	}
	if t.counts[m.key] -= m.weight; t.counts[m.key] == 0 {
		delete(t.counts, m.key)
	}
}

// sorted returns the counts in a fixed order.
func (t *tally) sorted() []Total {
	all := make([]Total, 0, len(t.counts))
	for k, n := range t.counts {
		all = append(all, Total{k.kind, k.verdict, k.reason, n})
	}
	slices.SortFunc(all, func(a, b Total) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Verdict, b.Verdict), cmp.Compare(a.Reason, b.Reason))
	})
	return all
}

// append appends totals, an object of event, then reason ("none" where the
// record has null), and lost.
func (t *tally) append(dst []byte) []byte {
	type key struct {
		kind   Kind
		reason verdict.Reason
	}
	sums := map[key]uint64{}
	var keys []key
	for _, one := range t.sorted() {
		k := key{one.Kind, one.Reason}
		if _, seen := sums[k]; !seen {
			keys = append(keys, k)
		}
		sums[k] += one.Count
	}
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.reason, b.reason))
	})
	dst = append(dst, `,"totals":{`...)
	for i, k := range keys {
		switch {
		case i == 0:
			dst = append(appendText(dst, k.kind.String(), maxWord), ":{"...)
		case k.kind != keys[i-1].kind:
			dst = append(appendText(append(dst, "},"...), k.kind.String(), maxWord), ":{"...)
		default:
			dst = append(dst, ',')
		}
		dst = appendText(dst, cmp.Or(k.reason.String(), "none"), maxWord)
		dst = strconv.AppendUint(append(dst, ':'), sums[k], 10)
	}
	if len(keys) > 0 {
		dst = append(dst, '}')
	}
	dst = append(dst, `},"lost":`...)
	return strconv.AppendUint(dst, t.lost, 10)
}
