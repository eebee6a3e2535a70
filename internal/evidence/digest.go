package evidence

import "github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence/record"

const (
	// batchLines and batchBytes are when a batch is full.
	batchLines = 256
	batchBytes = 1 << 20
)

// place is where a line stands.
type place struct {
	file int // index in the files of the Verifier
	line int
}

// lineFacts are what a Verifier needs of a line. Their slices are of the batch.
type lineFacts struct {
	record.Facts
	at       place
	shuffled bool
}

// batch is lines that are digested together, by one goroutine.
type batch struct {
	buf   []byte
	ends  []int // of the lines in buf
	lines []lineFacts
	done  chan struct{}

	// Of a Verifier that gives records:
	parser  *record.Parser // nil: it does not
	records []parsed
}

// parsed is what record.Parse makes of a line.
type parsed struct {
	record Record
	err    error
}

// add appends a line.
func (b *batch) add(l *Line, at place) {
	b.buf = append(b.buf, l.Raw...)
	b.ends = append(b.ends, len(b.buf))
	b.lines = append(b.lines, lineFacts{at: at, shuffled: l.Shuffled})
}

// full reports whether the batch should be digested.
func (b *batch) full() bool { return len(b.ends) >= batchLines || len(b.buf) >= batchBytes }

// digest reads the lines and closes done.
func (b *batch) digest() {
	defer close(b.done)
	start := 0
	for i, end := range b.ends {
		line := b.buf[start:end]
		object := b.lines[i].Read(line, b.parser)
		if b.parser != nil {
			r, err := b.parser.Record(line, object)
			b.records = append(b.records, parsed{r, err})
		}
		start = end
	}
}

// reset empties the batch.
func (b *batch) reset() {
	b.buf, b.ends, b.lines, b.records = b.buf[:0], b.ends[:0], b.lines[:0], b.records[:0]
}
