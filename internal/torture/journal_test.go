//go:build torture

package torture

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
)

// entry is one record and where it stands.
type entry struct {
	evidence.Record
	end position // of its line
}

// journal is all records of a round.
type journal struct {
	entries []*entry
	byID    map[string][]*entry
	byHost  map[string][]*entry // of requests
	boots   map[string]*bootRecords
	order   []string // boots
	torn    int      // lines of which a part is there
}

// bootRecords is what the records say of one process.
type bootRecords struct {
	name        string
	seq         uint64
	prev        string // what the next record's prev has to be
	from, to    time.Time
	stopped     bool
	beats       int
	lost        uint64
	sums        map[string]map[string]uint64 // event, reason, count, as in totals
	first, last *entry
}

// openJournal reads the files and follows every chain. It is the harness's own
// reader; internal/evidence is asked beside it.
func (rd *round) openJournal(t *tally) (*journal, error) {
	j := &journal{byID: map[string][]*entry{}, byHost: map[string][]*entry{}, boots: map[string]*bootRecords{}}
	for gen, name := range rd.files {
		if err := j.read(t, gen, name); err != nil {
			return nil, err
		}
	}
	t.records = len(j.entries)
	return j, nil
}

// read reads one file.
func (j *journal) read(t *tally, gen int, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<20)
	at := position{gen: gen}
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		at.size += int64(len(line))
		if whole := bytes.TrimSuffix(line, []byte("\n")); len(whole) > 0 {
			rec, bad := evidence.Parse(whole)
			if bad != nil || len(whole) == len(line) {
				j.torn++
				if len(line) > 0 && bad == nil {
					t.violation("%s:%d: a whole record without its newline", name, n)
				}
			} else {
				j.add(t, &entry{rec, at}, whole, fmt.Sprintf("%s:%d", name, n))
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// add takes a record in and checks its place in the chain.
func (j *journal) add(t *tally, e *entry, line []byte, where string) {
	b := j.boots[e.Process]
	if b == nil {
		b = &bootRecords{name: e.Process, prev: hash([]byte(e.Process)), from: e.Time, sums: map[string]map[string]uint64{}, first: e}
		j.boots[e.Process] = b
		j.order = append(j.order, e.Process)
	}
	if e.Seq != b.seq+1 {
		t.violation("%s: seq %d behind %d", where, e.Seq, b.seq)
	}
	if e.Prev != b.prev {
		t.violation("%s: record %d of boot %s is not chained to the one before it", where, e.Seq, e.Process)
	}
	if b.stopped {
		t.violation("%s: a record behind the last one of boot %s", where, e.Process)
	}
	b.seq, b.prev, b.to, b.last = e.Seq, hash(line), e.Time, e
	j.entries = append(j.entries, e)
	if e.Totals != nil {
		b.compare(t, e, where)
	}
	if e.ID != "" {
		j.byID[e.ID] = append(j.byID[e.ID], e)
	}
	if e.Protocol != "" {
		j.byHost[e.Host] = append(j.byHost[e.Host], e)
		why := e.Reason
		if why == "" {
			why = "none"
		}
		if b.sums[e.Event] == nil {
			b.sums[e.Event] = map[string]uint64{}
		}
		b.sums[e.Event][why] += e.Count()
	}
	b.stopped = e.Event == "stopped"
}

// compare compares the totals of a record with the records before it.
func (b *bootRecords) compare(t *tally, e *entry, where string) {
	b.beats++
	b.lost = e.Lost
	got, want := fmt.Sprint(e.Totals), fmt.Sprint(b.sums)
	if got != want {
		t.violation("%s: totals %s, the records before it are %s", where, got, want)
	}
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// checkChains checks the ends of all boots, and asks internal/evidence.
func (rd *round) checkChains(t *tally, j *journal) {
	killed, stopped, either := 0, 0, 0
	for _, p := range rd.boots {
		switch {
		case p.killed:
			killed++
		case p.unrecorded:
			either++
		}
	}
	for _, b := range j.boots {
		if b.stopped {
			stopped++
		}
		if b.first.Event != "started" && b.first.Seq == 1 && !rd.sinkFailed(b.from.Add(-2*time.Second), b.from) {
			t.violation("boot %s: the first record is %s", b.name, b.first.Event)
		}
		if b.lost > 0 && !rd.sinkFailed(b.from, b.to) {
			t.violation("boot %s: %d events lost where no output failed", b.name, b.lost)
		}
	}
	if want := len(rd.boots) - killed; stopped > want || stopped < want-either {
		t.violation("%d boots have their last record, %d ended in order", stopped, want)
	}
	if j.torn > killed+either {
		t.violation("%d lines are torn, %d boots were killed", j.torn, killed+either)
	}
	rd.verify(t)
}

// sinkFailed reports whether the output failed in that time.
func (rd *round) sinkFailed(from, to time.Time) bool {
	return rd.world.timeline.during(from, to, faultSink)
}

// verify asks internal/evidence whether all is whole.
func (rd *round) verify(t *tally) {
	var files []string
	for _, name := range rd.files {
		if st, err := os.Stat(name); err == nil && st.Size() > 0 {
			files = append(files, name)
		}
	}
	v := evidence.NewVerifier()
	err := evidence.Read(files, strings.NewReader(""), func(l evidence.Line) error { v.Add(l); return nil })
	if err != nil {
		t.violation("reading the records by internal/evidence: %v", err)
		return
	}
	res := v.Result()
	all := res.Findings
	for _, b := range res.Processes {
		all = append(all, b.Findings...)
	}
	sink := len(rd.world.timeline.faults[faultSink]) > 0
	for _, f := range all {
		if f.Kind != evidence.KindLost || !sink {
			t.violation("internal/evidence: %s, seq %d to %d, %s:%d: %s", f.Kind, f.From, f.To, f.File, f.Line, f.Text)
		}
	}
	if !res.Whole && len(all) == 0 {
		t.violation("internal/evidence: not whole, and no finding says why")
	}
}
