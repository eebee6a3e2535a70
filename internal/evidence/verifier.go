package evidence

import (
	"hash/maphash"
	"runtime"
)

// Verifier follows the records of all boots. Make one with NewVerifier. It is
// not safe for concurrent use.
//
// Of each boot it keeps the runs of records that follow on each other without a
// break, and joins them in the end: files may come in any order, and the records
// of a boot may stand in several. Its memory grows with the runs, not with the
// lines. Lines are hashed and read by other goroutines, which Result waits for.
type Verifier struct {
	open    *batch
	flight  []*batch // under way, the oldest first
	free    []*batch
	files   []*File
	byName  map[string]int
	boots   map[string]*boot
	order   []*boot // as they came
	recent  *boot   // of the last record
	near    []*boot // by file: whose record stood there last
	keys    keys
	runs    int  // of all boots
	room    int  // for runs
	crowded bool // there was no room for a run

	each  func(file string, r *Record, err error) // nil: no records are wanted
	words *words                                  // of the records
}

// NewVerifier returns a Verifier that has seen nothing.
func NewVerifier() *Verifier {
	return &Verifier{byName: map[string]int{}, boots: map[string]*boot{}, keys: newKeys(), room: maxRuns}
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
	v.each, v.words = each, &words{seed: maphash.MakeSeed()}
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
		b.parser = newParser(v.words)
	}
	return b
}

// send lets the open batch be digested, and takes in the oldest where enough
// are under way.
func (v *Verifier) send() {
	go v.open.digest()
	v.flight = append(v.flight, v.open)
	v.open = nil
	if len(v.flight) > runtime.GOMAXPROCS(0)+1 {
		v.receive()
	}
}

// receive waits for the oldest batch and follows its lines.
func (v *Verifier) receive() {
	b := v.flight[0]
	v.flight = append(v.flight[:0], v.flight[1:]...)
	<-b.done
	for i := range b.facts {
		v.follow(&b.facts[i])
	}
	for i := range b.records {
		v.each(v.files[b.facts[i].at.file].Name, &b.records[i].record, b.records[i].err)
	}
	b.reset()
	v.free = append(v.free, b)
}

// follow takes in one line.
func (v *Verifier) follow(f *fact) {
	file := v.files[f.at.file]
	switch f.class {
	case classForeign:
		file.Foreign++
	case classTorn:
		file.unreadable(f.at.line)
		v.torn(f)
	case classRecord:
		file.Records++
		if v.recent == nil || v.recent.name != string(f.boot) {
			v.recent = v.boot(string(f.boot))
		}
		v.near[f.at.file] = v.recent
		v.recent.follow(v, f)
	default:
		file.unreadable(f.at.line)
	}
}

// boot returns the state of a boot.
func (v *Verifier) boot(name string) *boot {
	b := v.boots[name]
	if b == nil {
		b = newBoot(name)
		v.boots[name] = b
		v.order = append(v.order, b)
	}
	return b
}

// torn notes a part of a record: of the boot that it names, else of the one
// whose record stands before it in the file. A part that can be given to no boot
// is counted as unreadable and no more: what is missing shows without it.
func (v *Verifier) torn(f *fact) {
	b := v.near[f.at.file]
	if len(f.boot) > 0 {
		b = v.boot(string(f.boot))
	}
	if b != nil && len(b.parts) < maxFindings {
		b.parts = append(b.parts, part{at: f.at, seq: f.seq})
	}
}

// finding returns a finding at a place.
func (v *Verifier) finding(k Kind, from, to uint64, at place, text string) Finding {
	return Finding{Kind: k, From: from, To: to, File: v.files[at.file].Name, Line: at.line, Text: text}
}
