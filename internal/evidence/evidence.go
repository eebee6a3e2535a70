// Package evidence reads streams of records back and says whether they are
// whole.
//
// What it does: Read gives the lines of files one by one, whatever they were
// packed in on their way; Parse makes a typed Record of a line; a Verifier
// follows numbers, hashes and totals of every process, whatever the order of files.
//
// What it does not do: it shares no code with what writes records, so that both
// cannot have the same mistake. It keeps no records: memory grows with the
// number of breaks in the stream and not with its lines.
//
//	v := evidence.NewVerifier()
//	err := evidence.Read(files, os.Stdin, func(l evidence.Line) error { v.Add(l); return nil })
//	fmt.Println(v.Result().Whole)
//
// # What a chain proves, and what it does not
//
// Each record has the hash of the one before it and a number, and heartbeats
// repeat the totals of all before them. So what is changed, removed, moved or
// added between two records of a process shows. It does not show:
//
//   - records that are removed behind the last one that is left of a process.
//     One that ended orderly has a record that says so; of one that was killed
//     nobody can tell what its end was.
//   - a change of the last line of a process, which no line follows.
//   - a process that is removed whole.
//   - the work of someone who rewrites a process from a place to its end: new
//     hashes, new numbers, new totals. Nothing in the chain is secret.
//
// Against these help copies that the writer cannot reach: ship lines as they are
// written, and keep the last hash of a process (Process.LastHash) elsewhere. Whoever
// has that hash can tell a rewritten process from the one that was verified.
package evidence

import (
	"io"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence/envelope"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence/record"
)

// ErrOtherJSON is returned by Parse for a line that is JSON and no record: the
// metrics and the operational log that may share the stream.
var ErrOtherJSON = record.ErrOtherJSON

// ErrNoRecord is wrapped by the errors of Parse for a line that is not JSON, or
// that has the members of a record with values that no record has.
var ErrNoRecord = record.ErrNoRecord

// Line is one line of a stream of records.
type Line = envelope.Line

// Record is a parsed record.
type Record = record.Record

// Read gives every line of the files to each, in order, but for empty ones, out of
// whatever they were packed in; package envelope says what it knows. "-" is stdin.
// It stops at the first error, of a file or of each.
func Read(files []string, stdin io.Reader, each func(Line) error) error {
	return envelope.Read(files, stdin, each)
}

// Parse makes a Record of a line without its newline. Members that it does not
// know are skipped. The error is ErrOtherJSON or wraps ErrNoRecord. Nothing of raw
// is retained.
func Parse(raw []byte) (Record, error) { return record.Parse(raw) }
