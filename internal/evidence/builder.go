package evidence

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
)

// Result waits for what is under way and says what was found. Lines may be
// added after it, and it may be asked again: findings of the end of a process are
// of the lines so far.
func (v *Verifier) Result() Result {
	v.drain()
	res := Result{Whole: true, Complete: true, Processes: []Process{}, Findings: []Finding{}, Files: []File{}}
	for _, f := range v.files {
		res.file(f)
	}
	if v.overflowed {
		res.Findings = append(res.Findings, Finding{Kind: KindDisorder, Text: "more breaks than can be followed; what stands behind them was not verified"})
	}
	for _, p := range v.order {
		one := p.result(v)
		res.Records += one.Records
		res.Whole = res.Whole && len(one.Findings) == 0
		res.Complete = res.Complete && one.Tail == nil
		res.Processes = append(res.Processes, one)
	}
	slices.SortStableFunc(res.Processes, func(a, b Process) int { return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.Name, b.Name)) })
	res.Whole = res.Whole && len(res.Findings) == 0 && len(res.Processes) > 0
	res.Complete = res.Complete && res.Whole && res.Unreadable == 0
	return res
}

// drain takes in all lines.
func (v *Verifier) drain() {
	if v.open != nil { // has a line at least
		v.send()
	}
	for len(v.inflight) > 0 {
		v.receive()
	}
}

// file adds a file to the result.
func (res *Result) file(f *File) {
	if f.Records == 0 {
		res.Findings = append(res.Findings, Finding{Kind: KindEmpty, File: f.Name, Text: "a file without any record"})
	}
	res.OtherJSON += f.OtherJSON
	res.Unreadable += f.Unreadable
	res.Files = append(res.Files, *f)
}

// builder puts the segments of a process together in the order of their numbers.
type builder struct {
	v       *Verifier
	process *process
	out     *Process

	sums  sums // of all records so far
	known bool // nothing is missing among them
	gap   int  // the finding to which the next totals can add what is missing; -1: none
}

// result puts the segments of a process together. It changes nothing.
func (p *process) result(v *Verifier) Process {
	all := *p // findings are added to a copy
	all.findings = slices.Clone(p.findings)
	all.finish(v)
	out := Process{Name: p.name, Policies: []Span{}}
	b := builder{v: v, process: &all, out: &out, known: true, gap: -1}
	var last *segment
	for _, r := range p.segments {
		b.link(last, r)
		b.totals(r)
		b.add(r)
		last = r
	}
	if last == nil {
		b.only(p.parts)
	} else {
		b.end(last)
	}
	out.Findings, out.More = all.findings, all.more
	if out.Findings == nil {
		out.Findings = []Finding{}
	}
	slices.SortStableFunc(out.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Kind, b.Kind))
	})
	return out
}

// link looks at what stands between two segments; a nil last is the beginning.
func (b *builder) link(last, r *segment) {
	next, hash := uint64(1), sha256.Sum256([]byte(b.process.name))
	if last != nil {
		next, hash = last.last+1, last.lastHash
	}
	switch {
	case r.first > next:
		kind, text := KindGap, "missing"
		if last == nil {
			kind, text = KindBeginning, "the beginning is missing"
		}
		if b.known {
			b.gap = len(b.process.findings)
		}
		b.known = false
		b.process.found(Finding{Kind: kind, From: next, To: r.first - 1, Text: text})
		if b.gap >= len(b.process.findings) {
			b.gap = -1
		}
	case hash == r.firstPrev:
	case last == nil:
		b.process.found(b.v.finding(KindChanged, r.first, r.first, r.firstAt, "the first record is not chained to its boot"))
	default:
		text := fmt.Sprintf("not the line that seq %d at %s:%d is chained to", r.first, b.v.files[r.firstAt.file].Name, r.firstAt.line)
		b.process.found(b.v.finding(KindChanged, last.last, last.last, last.lastAt, text))
	}
}

// totals compares what the first totals of a segment say to have been before it
// with what was.
func (b *builder) totals(r *segment) {
	if r.totals == 0 {
		b.sums = b.sums.plus(r.sums, 1)
		return
	}
	switch {
	case b.known:
		if text := b.v.keys.difference(r.claimed, b.sums.plus(r.claimed, 1).plus(r.base, -1)); text != "" {
			b.process.found(b.v.finding(KindTotals, r.totalsSeq, r.totalsSeq, r.totalsAt, "totals differ from the records before: "+text))
		}
	case b.gap >= 0:
		if text := b.v.keys.missing(r.base.plus(b.sums, -1)); text != "" {
			b.process.findings[b.gap].Text += "; by the totals of seq " + fmt.Sprintf("%d: %s", r.totalsSeq, text)
		}
	}
	b.sums = r.lastBase.plus(r.sums, 1)
	b.known, b.gap = true, -1
}

// add adds a segment to the result.
func (b *builder) add(r *segment) {
	out := b.out
	if out.Records == 0 {
		out.First, out.From = r.first, r.from
	}
	out.Records += r.last - r.first + 1
	out.Last, out.To = r.last, r.to
	out.LastHash = hex.EncodeToString(r.lastHash[:])
	out.Totals += r.totals
	out.Lost = max(out.Lost, r.lost)
	for _, m := range r.policies {
		n := len(out.Policies)
		if n > 0 && out.Policies[n-1].Policy == m.policy {
			continue
		}
		if n > 0 {
			out.Policies[n-1].To = m.from
		}
		out.Policies = append(out.Policies, Span{Policy: m.policy, From: m.from, Seq: m.seq})
	}
	if r.stopped > 0 && r.stopped < r.last {
		b.process.found(Finding{Kind: KindStopped, From: r.stopped, To: r.stopped, Text: "records stand behind the one that the proxy stopped"})
	}
}

// end looks at the end of a process.
func (b *builder) end(last *segment) {
	out := b.out
	if n := len(out.Policies); n > 0 {
		out.Policies[n-1].To = out.To
	}
	if out.Lost > 0 {
		b.process.found(Finding{Kind: KindLost, Text: fmt.Sprintf("%d events have no record: the output failed", out.Lost)})
	}
	if last.stopped != last.last {
		out.Tail = &Tail{After: last.last}
	}
	for _, p := range b.process.parts {
		if out.Tail != nil {
			out.Tail.Partial++
		} else if p.seq > last.last {
			b.process.found(b.v.finding(KindPartial, p.seq, p.seq, p.at, "a part of a record behind the one that the proxy stopped"))
		}
		// Else it was begun in a file that was moved away, and the whole record
		// stands elsewhere, or its number is a gap.
	}
}

// only looks at a process of which there are parts of records and no record.
func (b *builder) only(parts []part) {
	b.out.Tail = &Tail{Partial: uint64(len(parts))}
	low := uint64(1)
	for _, p := range parts {
		if p.seq > low {
			b.process.found(b.v.finding(KindBeginning, low, p.seq-1, p.at, "the beginning is missing"))
		}
		low = max(low, p.seq+1)
	}
}
