// Package evidence reads streams of records back and says whether they are
// whole.
//
// What it does: Read gives the lines of files one by one, whatever they were
// packed in on their way; Parse makes a typed Record of a line; a Verifier
// follows numbers, hashes and totals of every boot, whatever the order of files.
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
// added between two records of a boot shows. It does not show:
//
//   - records that are removed behind the last one that is left of a boot. A
//     boot that ended orderly has a record that says so; of one that was killed
//     nobody can tell what its end was.
//   - a change of the last line of a boot, which no line follows.
//   - a boot that is removed whole.
//   - the work of someone who rewrites a boot from a place to its end: new
//     hashes, new numbers, new totals. Nothing in the chain is secret.
//
// Against these help copies that the writer cannot reach: ship lines as they are
// written, and keep the last hash of a boot (Boot.LastHash) elsewhere. Whoever
// has that hash can tell a rewritten boot from the one that was verified.
package evidence

import "errors"

// ErrForeign is returned by Parse for a line that is JSON and no record: the
// metrics and the operational log that may share the stream.
var ErrForeign = errors.New("the line is JSON but no record")

// ErrNoRecord is wrapped by the errors of Parse for a line that is not JSON, or
// that has the members of a record with values that no record has.
var ErrNoRecord = errors.New("the line is not a record")

// Line is one line of a stream of records.
type Line struct {
	File string // as it was given to Read; "-" is standard input
	// Number counts the lines of the file from 1, or the log events where the
	// file is a document of events.
	Number int
	// Raw is the record's own bytes as the proxy wrote them: the envelope is
	// taken off, and there is no newline. It is valid until each returns.
	Raw []byte

	long     bool // the line has more than maxLine bytes; Raw is its beginning and no JSON
	shuffled bool // the envelope promises no order
}
