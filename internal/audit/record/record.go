// Package record makes the line of one event: one JSON object, as readers of the
// records find it.
//
// What it does: an Encoder appends the line of an Event without allocating,
// escapes what does not print, and caps every text, so that no line has MaxLine
// bytes. A Tally counts what lines add up to, which heartbeats repeat.
//
// What it does not do: no I/O, no clock and no lock. It keeps no state of the
// chain: the caller gives each line its Place.
//
//	enc, tally := record.NewEncoder(process, version), record.NewTally()
//	at := record.Place{Now: time.Now(), Seq: 1, Prev: sha256.Sum256([]byte(process))}
//	line := enc.AppendLine(nil, &record.Event{Kind: record.Started}, &at, tally)
//	at.Seq, at.Prev = at.Seq+1, record.HashLine(line)
package record
