package evidence

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
	"sort"
	"time"
)

const (
	// maxRuns is how many runs there is room for.
	maxRuns = 1 << 16
	// maxFindings is how many findings of a boot are kept.
	maxFindings = 1000
	// recentLines is how many of the last records of a boot can be compared
	// with a repetition one by one.
	recentLines = 1024
)

// run is records that follow on each other without a break: each has the number
// and the hash that come next.
type run struct {
	first, last         uint64
	firstAt, lastAt     place
	firstPrev, lastHash [sha256.Size]byte
	firstHash           [sha256.Size]byte
	from, to            time.Time
	limit               uint64 // the last seq that the run may have

	// Of a repetition: a run of numbers that others had before.
	repeat  bool
	same    uint64 // up to this seq it is what the other run has
	differs bool

	// Of all others.
	behind   uint64 // the seq that stood before it in the file although it is higher; 0: none
	sums     sums   // of its requests
	claims   uint64 // how many of its records have totals
	claimAt  place  // of the first of them
	claimSeq uint64
	said     sums // what that one says
	base     sums // what it thereby says of what was before the run
	lastBase sums // what the last one says so
	lost     uint64
	policies []mark
	stopped  uint64 // seq of the record stopped; 0: none
}

// mark says that a policy is in force.
type mark struct {
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

// boot is what is known of one boot.
type boot struct {
	name     string
	runs     []*run // by first, none of them a repetition; no two have a number in common
	now      *run   // the last one, perhaps a repetition
	recent   []known
	parts    []part // not yet known where they belong
	findings []Finding
	more     uint64
}

func newBoot(name string) *boot { return &boot{name: name} }

// found keeps a finding.
func (b *boot) found(f Finding) {
	if len(b.findings) >= maxFindings {
		b.more++
		return
	}
	b.findings = append(b.findings, f)
}

// follow takes in one record.
func (b *boot) follow(v *Verifier, f *fact) {
	b.splitBy(v, f)
	r := b.now
	if r == nil || f.seq != r.last+1 || f.seq > r.limit || f.prev != r.lastHash {
		if r = b.begin(v, f); r == nil {
			return
		}
	}
	r.last, r.lastAt, r.lastHash, r.to = f.seq, f.at, f.hash, f.time
	if r.repeat {
		b.compare(r, f)
		return
	}
	b.remember(f)
	b.count(v, r, f)
}

// splitBy tells of parts of records that have this one behind them in their
// file: they are not a tail.
func (b *boot) splitBy(v *Verifier, f *fact) {
	if len(b.parts) == 0 {
		return
	}
	b.parts = slices.DeleteFunc(b.parts, func(p part) bool {
		if p.at.file != f.at.file {
			return false
		}
		b.found(v.finding(KindTorn, p.seq, p.seq, p.at, "a part of a record between records of its boot"))
		return true
	})
}

// begin begins a run with a record; nil: there is no room for it.
func (b *boot) begin(v *Verifier, f *fact) *run {
	before := b.now
	b.finish(v)
	r := &run{first: f.seq, firstAt: f.at, firstPrev: f.prev, firstHash: f.hash, from: f.time, limit: math.MaxUint64}
	i := sort.Search(len(b.runs), func(i int) bool { return b.runs[i].first > f.seq })
	switch {
	case i > 0 && b.runs[i-1].last >= f.seq:
		r.repeat, r.limit = true, b.runs[i-1].last
	case v.runs >= v.room:
		v.crowded = true
		b.now = nil
		return nil
	default:
		if i < len(b.runs) {
			r.limit = b.runs[i].first - 1
		}
		b.runs = slices.Insert(b.runs, i, r)
		v.runs++
		if before != nil && before.lastAt.file == f.at.file && before.last > f.seq && !f.shuffled {
			r.behind = before.last
		}
	}
	b.now = r
	return r
}

// finish tells of the run that ends.
func (b *boot) finish(v *Verifier) {
	r := b.now
	switch {
	case r == nil:
	case r.repeat && r.differs:
		b.found(v.finding(KindForked, r.first, r.last, r.firstAt, "other lines with numbers that were there before"))
	case r.repeat && r.same == r.last:
		b.found(v.finding(KindDuplicated, r.first, r.last, r.firstAt, "the same again, byte by byte"))
	case r.repeat:
		b.found(v.finding(KindDuplicated, r.first, r.last, r.firstAt, "numbers that were there before; whether the lines are the same was not compared"))
	case r.behind > 0:
		b.found(v.finding(KindReordered, r.first, r.last, r.firstAt, textf("behind seq %d", r.behind)))
	}
	b.now = nil
}

// remember keeps what a repetition of the record can be compared with.
func (b *boot) remember(f *fact) {
	i := int(f.seq % recentLines)
	for len(b.recent) <= i {
		b.recent = append(b.recent, known{})
	}
	b.recent[i] = known{f.seq, short(&f.hash)}
}

// short is the first eight bytes of a hash.
func short(h *[sha256.Size]byte) uint64 { return binary.BigEndian.Uint64(h[:]) }

// compare compares a repeated record with the first of its number, where that
// is still known: the last ones, and both ends of runs.
func (b *boot) compare(r *run, f *fact) {
	i := sort.Search(len(b.runs), func(i int) bool { return b.runs[i].first > f.seq })
	of := b.runs[i-1]
	var was uint64
	switch {
	case of.last == f.seq:
		was = short(&of.lastHash)
	case of.first == f.seq:
		was = short(&of.firstHash)
	default:
		at := int(f.seq % recentLines)
		if at >= len(b.recent) || b.recent[at].seq != f.seq {
			return
		}
		was = b.recent[at].hash
	}
	if was == short(&f.hash) {
		r.same = f.seq
	} else {
		r.differs = true
	}
}

// count adds a record to what its run says.
func (b *boot) count(v *Verifier, r *run, f *fact) {
	if f.request {
		r.sums.add(v.keys.of(f.event, f.reason), f.weight)
	}
	event := string(f.event)
	lifecycle := event == "started" || event == "reloaded"
	if f.totals != nil {
		b.claim(v, r, f)
	}
	if (lifecycle || event == "heartbeat") && len(f.policy) > 0 {
		if n := len(r.policies); n == 0 || r.policies[n-1].policy != string(f.policy) {
			r.policies = append(r.policies, mark{string(f.policy), f.time, f.seq})
		}
	}
	if event == "stopped" && r.stopped == 0 {
		r.stopped = f.seq
	}
}

// claim compares the totals of a record with those before it in the run. What
// was before the run stands to be compared when runs are joined.
func (b *boot) claim(v *Verifier, r *run, f *fact) {
	said, ok := v.keys.claimed(f.totals)
	if !ok {
		b.found(v.finding(KindTotals, f.seq, f.seq, f.at, "totals that no record has"))
		return
	}
	base := said.plus(r.sums, -1)
	if r.claims == 0 {
		r.said, r.base, r.claimAt, r.claimSeq = said, base, f.at, f.seq
	} else if text := v.keys.difference(said, r.lastBase.plus(r.sums, 1)); text != "" {
		b.found(v.finding(KindTotals, f.seq, f.seq, f.at, "totals differ from the records: "+text))
	}
	r.claims++
	r.lastBase = base
	r.lost = max(r.lost, f.lost)
}
