package evidence

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"
)

const (
	// maxSegments is how many segments are kept.
	maxSegments = 1 << 16
	// maxFindings is how many findings of a process are kept.
	maxFindings = 1000
	// recentLines is how many of the last records of a process can be compared
	// with a repetition one by one.
	recentLines = 1024
)

// segment is records that follow on each other without a break: each has the number
// and the hash that come next.
type segment struct {
	first, last         uint64
	firstAt, lastAt     place
	firstPrev, lastHash [sha256.Size]byte
	firstHash           [sha256.Size]byte
	from, to            time.Time
	limit               uint64 // the last seq that the segment may have

	// Of a repetition: a segment of numbers that others had before.
	repeat  bool
	same    uint64 // up to this seq it is what the other segment has
	differs bool

	// Of all others.
	behind    uint64 // the seq that stood before it in the file although it is higher; 0: none
	sums      sums   // of its requests
	totals    uint64 // how many of its records have totals
	totalsAt  place  // of the first of them
	totalsSeq uint64
	claimed   sums // what that one says
	base      sums // claimed, less the records of the segment: what was before it
	lastBase  sums // the same of the last one
	lost      uint64
	policies  []policyChange
	stopped   uint64 // seq of the record stopped; 0: none
}

// policyChange says that a policy is in force.
type policyChange struct {
	policy string
	from   time.Time
	seq    uint64
}

// part is a part of a record.
type part struct {
	at  place
	seq uint64 // 0: it does not say
}

// known is a record that was seen not long ago.
type known struct{ seq, hash uint64 }

// process is what is known of one process.
type process struct {
	name     string
	segments []*segment // by first, none of them a repetition; no two have a number in common
	now      *segment   // the last one, perhaps a repetition
	recent   []known
	parts    []part // not yet known where they belong
	findings []Finding
	more     uint64
}

func newProcess(name string) *process { return &process{name: name} }

// found keeps a finding.
func (p *process) found(f Finding) {
	if len(p.findings) >= maxFindings {
		p.more++
		return
	}
	p.findings = append(p.findings, f)
}

// add takes in one record.
func (p *process) add(v *Verifier, f *lineFacts) {
	p.splitBy(v, f)
	r := p.now
	if r == nil || f.Seq != r.last+1 || f.Seq > r.limit || f.Prev != r.lastHash {
		if r = p.begin(v, f); r == nil {
			return
		}
	}
	r.last, r.lastAt, r.lastHash, r.to = f.Seq, f.at, f.Hash, f.Time
	if r.repeat {
		p.compare(r, f)
		return
	}
	p.remember(f)
	p.count(v, r, f)
}

// splitBy reports parts of records that have this one behind them in their
// file: they are not a tail.
func (p *process) splitBy(v *Verifier, f *lineFacts) {
	if len(p.parts) == 0 {
		return
	}
	p.parts = slices.DeleteFunc(p.parts, func(one part) bool {
		if one.at.file != f.at.file {
			return false
		}
		p.found(v.finding(KindPartial, one.seq, one.seq, one.at, "a part of a record between records of its boot"))
		return true
	})
}

// begin begins a segment with a record; nil: there is no room for it.
func (p *process) begin(v *Verifier, f *lineFacts) *segment {
	before := p.now
	p.finish(v)
	r := &segment{first: f.Seq, firstAt: f.at, firstPrev: f.Prev, firstHash: f.Hash, from: f.Time, limit: math.MaxUint64}
	i := sort.Search(len(p.segments), func(i int) bool { return p.segments[i].first > f.Seq })
	switch {
	case i > 0 && p.segments[i-1].last >= f.Seq:
		r.repeat, r.limit = true, p.segments[i-1].last
	case v.segments >= v.maxSegments:
		v.overflowed = true
		p.now = nil
		return nil
	default:
		if i < len(p.segments) {
			r.limit = p.segments[i].first - 1
		}
		p.segments = slices.Insert(p.segments, i, r)
		v.segments++
		if before != nil && before.lastAt.file == f.at.file && before.last > f.Seq && !f.shuffled {
			r.behind = before.last
		}
	}
	p.now = r
	return r
}

// finish reports the segment that ends.
func (p *process) finish(v *Verifier) {
	r := p.now
	switch {
	case r == nil:
	case r.repeat && r.differs:
		p.found(v.finding(KindForked, r.first, r.last, r.firstAt, "other lines with numbers that were there before"))
	case r.repeat && r.same == r.last:
		p.found(v.finding(KindDuplicated, r.first, r.last, r.firstAt, "the same again, byte by byte"))
	case r.repeat:
		p.found(v.finding(KindDuplicated, r.first, r.last, r.firstAt, "numbers that were there before; whether the lines are the same was not compared"))
	case r.behind > 0:
		p.found(v.finding(KindReordered, r.first, r.last, r.firstAt, fmt.Sprintf("behind seq %d", r.behind)))
	}
	p.now = nil
}

// remember keeps what a repetition of the record can be compared with.
func (p *process) remember(f *lineFacts) {
	i := int(f.Seq % recentLines)
	for len(p.recent) <= i {
		p.recent = append(p.recent, known{})
	}
	p.recent[i] = known{f.Seq, short(&f.Hash)}
}

// short is the first eight bytes of a hash.
func short(h *[sha256.Size]byte) uint64 { return binary.BigEndian.Uint64(h[:]) }

// compare compares a repeated record with the first of its number, where that
// is still known: the last ones, and both ends of segments.
func (p *process) compare(r *segment, f *lineFacts) {
	i := sort.Search(len(p.segments), func(i int) bool { return p.segments[i].first > f.Seq })
	of := p.segments[i-1]
	var was uint64
	switch {
	case of.last == f.Seq:
		was = short(&of.lastHash)
	case of.first == f.Seq:
		was = short(&of.firstHash)
	default:
		at := p.recent[f.Seq%recentLines] // there is one: the segment's were remembered
		if at.seq != f.Seq {
			return
		}
		was = at.hash
	}
	if was == short(&f.Hash) {
		r.same = f.Seq
	} else {
		r.differs = true
	}
}

// count adds a record to what its segment says.
func (p *process) count(v *Verifier, r *segment, f *lineFacts) {
	if f.Request {
		r.sums.add(v.keys.of(f.Event, f.Reason), f.Weight)
	}
	event := string(f.Event)
	lifecycle := event == "started" || event == "reloaded"
	if f.Totals != nil {
		p.compareTotals(v, r, f)
	}
	if (lifecycle || event == "heartbeat") && len(f.Policy) > 0 {
		if n := len(r.policies); n == 0 || r.policies[n-1].policy != string(f.Policy) {
			r.policies = append(r.policies, policyChange{string(f.Policy), f.Time, f.Seq})
		}
	}
	if event == "stopped" && r.stopped == 0 {
		r.stopped = f.Seq
	}
}

// compareTotals compares the totals of a record with those before it in the
// segment. What was before the segment is compared when segments are put together.
func (p *process) compareTotals(v *Verifier, r *segment, f *lineFacts) {
	claimed, ok := v.keys.claimed(f.Totals)
	if !ok {
		p.found(v.finding(KindTotals, f.Seq, f.Seq, f.at, "totals that no record has"))
		return
	}
	base := claimed.plus(r.sums, -1)
	if r.totals == 0 {
		r.claimed, r.base, r.totalsAt, r.totalsSeq = claimed, base, f.at, f.Seq
	} else if text := v.keys.difference(claimed, r.lastBase.plus(r.sums, 1)); text != "" {
		p.found(v.finding(KindTotals, f.Seq, f.Seq, f.at, "totals differ from the records: "+text))
	}
	r.totals++
	r.lastBase = base
	r.lost = max(r.lost, f.Lost)
}
