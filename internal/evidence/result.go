package evidence

import "time"

// Result is what a Verifier found.
type Result struct {
	// Whole is false where anything of the records is missing or not as it was
	// written, and where there are none. The tail of a process that was killed
	// does not make it false: see Process.Tail.
	Whole bool `json:"whole"`
	// Complete reports whether it is whole and nothing was cut off either: every
	// process has its last record, stopped, and every line could be read.
	Complete bool `json:"complete"`
	// Records counts the records of all processes, a repeated one once.
	Records uint64 `json:"records"`
	// OtherJSON counts the lines that are JSON and no records.
	OtherJSON uint64 `json:"foreign"`
	// Unreadable counts the lines that are neither.
	Unreadable uint64 `json:"unreadable"`
	// Files are the files as they came.
	Files []File `json:"files"`
	// Processes are the processes by the time of their first record.
	Processes []Process `json:"boots"`
	// Findings are what belongs to no process; any makes the result not whole.
	Findings []Finding `json:"findings"`
}

// File is what was found in one file.
type File struct {
	Name       string `json:"name"` // "-" is standard input
	Records    uint64 `json:"records"`
	OtherJSON  uint64 `json:"foreign"`    // JSON and no record
	Unreadable uint64 `json:"unreadable"` // neither, or a part of a record
	// FirstUnreadable is the number of the first such line; 0: there is none.
	FirstUnreadable int `json:"first_unreadable"`
}

// unreadable counts a line.
func (f *File) unreadable(line int) {
	if f.Unreadable++; f.FirstUnreadable == 0 {
		f.FirstUnreadable = line
	}
}

// Process is what was found of one process of the proxy.
type Process struct {
	Name string `json:"boot"`
	// From and To are the times of its first and its last record.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Records counts them, a repeated one once.
	Records uint64 `json:"records"`
	// First and Last are the lowest and the highest seq.
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	// LastHash is the SHA-256 of the record of seq Last, in hex. Kept elsewhere,
	// it pins all records up to there.
	LastHash string `json:"last_hash"`
	// Tail is what may be missing behind the last record; nil: it is stopped.
	Tail *Tail `json:"tail"`
	// Totals counts the heartbeats, and stopped, whose totals were compared.
	Totals uint64 `json:"totals"`
	// Lost is how many events have no record, by the last heartbeat.
	Lost uint64 `json:"lost"`
	// Policies are the policies in force, in order.
	Policies []Span `json:"policies"`
	// Findings are what makes the process not whole; none: it is whole.
	Findings []Finding `json:"findings"`
	// More counts the findings beyond those that are listed.
	More uint64 `json:"more"`
}

// Tail is the end of a process that has no record of its end: it was killed, it
// still runs, or its last records were removed. The records alone cannot tell.
type Tail struct {
	After   uint64 `json:"after"` // the last seq that is there
	Partial uint64 `json:"torn"`  // lines of which a part is there
}

// Span is how long a policy was in force.
type Span struct {
	Policy string    `json:"policy"` // the hash in the records
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`  // the next policy's From, or the process's To
	Seq    uint64    `json:"seq"` // of the record that says so
}

// Finding is one thing that is not as it was written.
type Finding struct {
	Kind Kind `json:"kind"`
	// From and To are the first and the last seq that it is about; 0: none.
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
	// File and Line say where it shows; "": nowhere, it is what is missing.
	File string `json:"file"`
	Line int    `json:"line"`
	// Text says it to people.
	Text string `json:"text"`
}

// Kind is what a finding is about.
type Kind string

const (
	// KindBeginning is a process whose first records are not there.
	KindBeginning Kind = "beginning"
	// KindGap is records that are not there.
	KindGap Kind = "gap"
	// KindChanged is a line that is not what the next one is chained to. One of
	// the two was changed, or both were put there.
	KindChanged Kind = "changed"
	// KindReordered is records behind later ones in their file.
	KindReordered Kind = "reordered"
	// KindDuplicated is records that stand twice.
	KindDuplicated Kind = "duplicated"
	// KindForked is other records with numbers that were there before.
	KindForked Kind = "forked"
	// KindPartial is a part of a record where no kill explains it.
	KindPartial Kind = "torn"
	// KindTotals is a heartbeat, or stopped, whose totals are not those of the
	// records before it.
	KindTotals Kind = "totals"
	// KindLost is events that have no record because the output failed.
	KindLost Kind = "lost"
	// KindStopped is records behind the last one of a process.
	KindStopped Kind = "stopped"
	// KindEmpty is a file without any record.
	KindEmpty Kind = "empty"
	// KindDisorder is a stream with more breaks than there is room for.
	KindDisorder Kind = "disorder"
)
