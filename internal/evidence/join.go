package evidence

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
)

// textf is fmt.Sprintf.
func textf(format string, args ...any) string { return fmt.Sprintf(format, args...) }

// Result waits for what is under way and says what was found. Lines may be
// added after it, and it may be asked again: findings of the end of a boot are
// of the lines so far.
func (v *Verifier) Result() Result {
	v.drain()
	res := Result{Whole: true, Complete: true, Boots: []Boot{}, Findings: []Finding{}, Files: []File{}}
	for _, f := range v.files {
		res.file(f)
	}
	if v.crowded {
		res.Findings = append(res.Findings, Finding{Kind: KindDisorder, Text: "more breaks than can be followed; what stands behind them was not verified"})
	}
	for _, b := range v.order {
		one := b.result(v)
		res.Records += one.Records
		res.Whole = res.Whole && len(one.Findings) == 0
		res.Complete = res.Complete && one.Tail == nil
		res.Boots = append(res.Boots, one)
	}
	slices.SortStableFunc(res.Boots, func(a, b Boot) int { return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.Boot, b.Boot)) })
	res.Whole = res.Whole && len(res.Findings) == 0 && len(res.Boots) > 0
	res.Complete = res.Complete && res.Whole && res.Unreadable == 0
	return res
}

// drain takes in all lines.
func (v *Verifier) drain() {
	if v.open != nil && len(v.open.ends) > 0 {
		v.send()
	}
	for len(v.flight) > 0 {
		v.receive()
	}
}

// file adds a file to the result.
func (res *Result) file(f *File) {
	if f.Records == 0 {
		res.Findings = append(res.Findings, Finding{Kind: KindEmpty, File: f.Name, Text: "a file without any record"})
	}
	res.Foreign += f.Foreign
	res.Unreadable += f.Unreadable
	res.Files = append(res.Files, *f)
}

// join walks the runs of a boot in the order of their numbers.
type join struct {
	v    *Verifier
	boot *boot
	out  *Boot

	sums  sums // of all records so far
	known bool // nothing is missing among them
	gap   int  // the finding to which the next totals can add what is missing; -1: none
}

// result joins the runs of a boot. It changes nothing.
func (b *boot) result(v *Verifier) Boot {
	all := *b // findings are added to a copy
	all.findings = slices.Clone(b.findings)
	all.finish(v)
	out := Boot{Boot: b.name, Policies: []Span{}}
	j := join{v: v, boot: &all, out: &out, known: true, gap: -1}
	var last *run
	for _, r := range b.runs {
		j.link(last, r)
		j.totals(r)
		j.take(r)
		last = r
	}
	if last == nil {
		j.only(b.parts)
	} else {
		j.end(last)
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

// link looks at what stands between two runs; a nil last is the beginning.
func (j *join) link(last, r *run) {
	next, hash := uint64(1), sha256.Sum256([]byte(j.boot.name))
	if last != nil {
		next, hash = last.last+1, last.lastHash
	}
	switch {
	case r.first > next:
		kind, text := KindGap, "missing"
		if last == nil {
			kind, text = KindBeginning, "the beginning is missing"
		}
		if j.known {
			j.gap = len(j.boot.findings)
		}
		j.known = false
		j.boot.found(Finding{Kind: kind, From: next, To: r.first - 1, Text: text})
		if j.gap >= len(j.boot.findings) {
			j.gap = -1
		}
	case hash == r.firstPrev:
	case last == nil:
		j.boot.found(j.v.finding(KindChanged, r.first, r.first, r.firstAt, "the first record is not chained to its boot"))
	default:
		text := textf("not the line that seq %d at %s:%d is chained to", r.first, j.v.files[r.firstAt.file].Name, r.firstAt.line)
		j.boot.found(j.v.finding(KindChanged, last.last, last.last, last.lastAt, text))
	}
}

// totals compares what the first totals of a run say to have been before it
// with what was.
func (j *join) totals(r *run) {
	if r.claims == 0 {
		j.sums = j.sums.plus(r.sums, 1)
		return
	}
	switch {
	case j.known:
		if text := j.v.keys.difference(r.said, j.sums.plus(r.said, 1).plus(r.base, -1)); text != "" {
			j.boot.found(j.v.finding(KindTotals, r.claimSeq, r.claimSeq, r.claimAt, "totals differ from the records before: "+text))
		}
	case j.gap >= 0:
		if text := j.v.keys.missing(r.base.plus(j.sums, -1)); text != "" {
			j.boot.findings[j.gap].Text += "; by the totals of seq " + textf("%d: %s", r.claimSeq, text)
		}
	}
	j.sums = r.lastBase.plus(r.sums, 1)
	j.known, j.gap = true, -1
}

// take adds a run to the result.
func (j *join) take(r *run) {
	out := j.out
	if out.Records == 0 {
		out.First, out.From = r.first, r.from
	}
	out.Records += r.last - r.first + 1
	out.Last, out.To = r.last, r.to
	out.LastHash = hex.EncodeToString(r.lastHash[:])
	out.Totals += r.claims
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
		j.boot.found(Finding{Kind: KindStopped, From: r.stopped, To: r.stopped, Text: "records stand behind the one that the proxy stopped"})
	}
}

// end looks at the end of a boot.
func (j *join) end(last *run) {
	out := j.out
	if n := len(out.Policies); n > 0 {
		out.Policies[n-1].To = out.To
	}
	if out.Lost > 0 {
		j.boot.found(Finding{Kind: KindLost, Text: textf("%d events have no record: the output failed", out.Lost)})
	}
	if last.stopped != last.last {
		out.Tail = &Tail{After: last.last}
	}
	for _, p := range j.boot.parts {
		if out.Tail != nil {
			out.Tail.Torn++
		} else if p.seq > last.last {
			j.boot.found(j.v.finding(KindTorn, p.seq, p.seq, p.at, "a part of a record behind the one that the proxy stopped"))
		}
		// Else it was begun in a file that was moved away, and the whole record
		// stands elsewhere, or its number is a gap.
	}
}

// only looks at a boot of which there are parts of records and no record.
func (j *join) only(parts []part) {
	j.out.Tail = &Tail{Torn: uint64(len(parts))}
	low := uint64(1)
	for _, p := range parts {
		if p.seq > low {
			j.boot.found(j.v.finding(KindBeginning, low, p.seq-1, p.at, "the beginning is missing"))
			low = p.seq + 1
		}
	}
}
