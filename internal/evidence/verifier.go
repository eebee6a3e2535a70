package evidence

import (
	"runtime"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence/record"
)

// Verifier follows the records of all processes. Make one with NewVerifier. It is
// not safe for concurrent use.
//
// Of each process it keeps the segments of records that follow on each other
// without a break, and puts them together in the end: files may come in any order,
// and the records of a process may stand in several. Its memory grows with the
// segments, not with the lines. Lines are hashed and read by other goroutines, which Result waits for.
type Verifier struct {
	open        *batch
	inflight    []*batch // under way, the oldest first
	free        []*batch
	files       []*File
	byName      map[string]int
	processes   map[string]*process
	order       []*process // as they came
	recent      *process   // of the last record
	near        []*process // by file: whose record stood there last
	keys        keys
	segments    int  // of all processes
	maxSegments int  // how many may be kept
	overflowed  bool // there was one more

	each  func(file string, r *Record, err error) // nil: no records are wanted
	texts *record.Interned                        // of the records
}

// NewVerifier returns a Verifier that has seen nothing.
func NewVerifier() *Verifier {
	return &Verifier{byName: map[string]int{}, processes: map[string]*process{}, keys: newKeys(), maxSegments: maxSegments}
}

// Expect names files that must have a record; one without is a finding. Files
// that Add sees lines of need not be named.
func (v *Verifier) Expect(files []string) {
	for _, name := range files {
		v.file(name)
	}
}

// Records lets each have what Parse makes of every line, in order; call it before
// the first Add. each is called while Add and Result run, some lines later, and
// may keep what it is given but for r itself. It is cheaper than to parse beside,
// also because Prev, Addresses and SNI are checked and left out.
func (v *Verifier) Records(each func(file string, r *Record, err error)) {
	v.each, v.texts = each, record.NewInterned()
}

// file returns the index of a file.
func (v *Verifier) file(name string) int {
	i, ok := v.byName[name]
	if !ok {
		i = len(v.files)
		v.byName[name] = i
		v.files = append(v.files, &File{Name: name})
		v.near = append(v.near, nil)
	}
	return i
}

// Add takes one line. It does not retain l.Raw.
func (v *Verifier) Add(l Line) {
	if v.open == nil {
		v.open = v.fresh()
	}
	v.open.add(&l, place{v.file(l.File), l.Number})
	if v.open.full() {
		v.send()
	}
}

// fresh returns an empty batch.
func (v *Verifier) fresh() *batch {
	b := &batch{}
	if n := len(v.free); n > 0 {
		b, v.free = v.free[n-1], v.free[:n-1]
	}
	b.done = make(chan struct{})
	if v.each != nil && b.parser == nil {
		b.parser = record.NewParser(v.texts)
	}
	return b
}

// send lets the open batch be digested, and takes in the oldest where enough
// are under way.
func (v *Verifier) send() {
	go v.open.digest()
	v.inflight = append(v.inflight, v.open)
	v.open = nil
	if len(v.inflight) > runtime.GOMAXPROCS(0)+1 {
		v.receive()
	}
}

// receive waits for the oldest batch and follows its lines.
func (v *Verifier) receive() {
	b := v.inflight[0]
	v.inflight = append(v.inflight[:0], v.inflight[1:]...)
	<-b.done
	for i := range b.lines {
		v.addLine(&b.lines[i])
	}
	for i := range b.records {
		v.each(v.files[b.lines[i].at.file].Name, &b.records[i].record, b.records[i].err)
	}
	b.reset()
	v.free = append(v.free, b)
}

// addLine takes in one line.
func (v *Verifier) addLine(f *lineFacts) {
	file := v.files[f.at.file]
	switch f.Class {
	case record.OtherJSON:
		file.OtherJSON++
	case record.Partial:
		file.unreadable(f.at.line)
		v.addPart(f)
	case record.Whole:
		file.Records++
		if v.recent == nil || v.recent.name != string(f.Process) {
			v.recent = v.process(string(f.Process))
		}
		v.near[f.at.file] = v.recent
		v.recent.add(v, f)
	default:
		file.unreadable(f.at.line)
	}
}

// process returns the state of a process.
func (v *Verifier) process(name string) *process {
	p := v.processes[name]
	if p == nil {
		p = newProcess(name)
		v.processes[name] = p
		v.order = append(v.order, p)
	}
	return p
}

// addPart takes in a part of a record. It belongs to the process that it names, else
// to that of the record before it in the file. If there is none, the part is only
// counted as unreadable: that a record is missing shows without it.
func (v *Verifier) addPart(f *lineFacts) {
	p := v.near[f.at.file]
	if len(f.Process) > 0 {
		p = v.process(string(f.Process))
	}
	if p != nil && len(p.parts) < maxFindings {
		p.parts = append(p.parts, part{at: f.at, seq: f.Seq})
	}
}

// finding returns a finding at a place.
func (v *Verifier) finding(k Kind, from, to uint64, at place, text string) Finding {
	return Finding{Kind: k, From: from, To: to, File: v.files[at.file].Name, Line: at.line, Text: text}
}
