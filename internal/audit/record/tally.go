package record

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

// Tally is what the lines of a stream add up to. Make one with NewTally. It is
// not safe for concurrent use.
type Tally struct {
	counts map[tallyKey]uint64
	lost   uint64
}

// NewTally returns a Tally of no lines.
func NewTally() *Tally { return &Tally{counts: map[tallyKey]uint64{}} }

// tallyKey is what has a count of its own.
type tallyKey struct {
	kind    Kind
	verdict verdict.Verdict
	reason  verdict.Reason
}

// Entry is what a Tally counts of one line.
type Entry struct {
	key    tallyKey // the zero key: not a request
	Weight uint64   // how many events are lost with the line
}

// EntryOf returns the entry of the line of an event. A heartbeat that is lost is
// no loss: the next one has all that it had.
func EntryOf(e *Event) Entry {
	var one Entry
	if e.Kind != Heartbeat {
		one.Weight = 1 + e.Suppressed
	}
	if e.Kind.IsRequest() {
		one.key = tallyKey{e.Kind, e.Verdict, e.Reason}
	}
	return one
}

// Add counts a line.
func (t *Tally) Add(e Entry) {
	if e.key != (tallyKey{}) {
		t.counts[e.key] += e.Weight
	}
}

// Remove counts a line that was added as lost.
func (t *Tally) Remove(e Entry) {
	t.Lose(e)
	if e.key == (tallyKey{}) {
		return
	}
	if t.counts[e.key] -= e.Weight; t.counts[e.key] == 0 {
		delete(t.counts, e.key)
	}
}

// Lose counts a line as lost that was not added.
func (t *Tally) Lose(e Entry) { t.lost += e.Weight }

// Lost returns how many events are lost.
func (t *Tally) Lost() uint64 { return t.lost }

// Totals returns the counts sorted by kind, verdict and reason.
func (t *Tally) Totals() []Total {
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
func (t *Tally) append(dst []byte) []byte {
	type key struct {
		kind   Kind
		reason verdict.Reason
	}
	sums := map[key]uint64{}
	var keys []key
	for _, one := range t.Totals() {
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
