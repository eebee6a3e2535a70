// Package ocsf turns records into events of the Open Cybersecurity Schema
// Framework, version 1.6.0, for what collects events of many products.
//
// What it does: a record of a request becomes one HTTP Activity (class 4002),
// a record of a lookup one DNS Activity (4003), each a line of JSON. Both have
// src_endpoint and dst_endpoint, the first http_request and http_response,
// even where the record has nothing for them. What other programs find of
// accounts and fences becomes a Compliance Finding (2003), by Compliance.
//
// What it does not do: it invents nothing. Where the schema requires a value that
// no record has, the value says so: the status that an origin gave to a plain
// request is 0, and an endpoint without a name is "unknown". It does
// not check the chain of the records, and records that are about the proxy
// itself (started, heartbeat, …) have no class here: they are counted.
//
//	exporter := ocsf.New(os.Stdout)
//	err := evidence.Read(files, os.Stdin, func(l evidence.Line) error { return exporter.Add(l.Raw) })
//	…
//	err = exporter.Flush()
//
// # What goes where
//
// The verdict is the action (deny: Denied, report and allow: Allowed), and
// the reason gives disposition, severity and the status that the client got. A
// request that only report mode let through is Detected. The record's place is
// metadata.uid (boot and seq), raw_data_hash is the SHA-256 that the chain has
// of it, and count has those that a summary stands for. What the schema has no
// place for is in unmapped, under the record's own keys; the server name is
// there too, because a tls object requires a TLS version, which no record has.
package ocsf

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/printable"
)

// Version is the version of the schema that events follow.
const Version = "1.6.0"

// Counts is what an Exporter has been given.
type Counts struct {
	HTTP uint64 // HTTP Activity events written
	DNS  uint64 // DNS Activity events written
	// Skipped is how many records that are about no request there were, by
	// event; "other" are events that this version does not know.
	Skipped   map[string]uint64
	OtherJSON uint64 // lines of JSON that are not records: metrics
	Partial   uint64 // lines that are neither: parts of records
}

// Records returns how many records there were, exported or not.
func (c *Counts) Records() uint64 {
	n := c.HTTP + c.DNS
	for _, skipped := range c.Skipped {
		n += skipped
	}
	return n
}

// Exporter writes events. It holds one line at a time, and is not safe for
// concurrent use.
type Exporter struct {
	out    *bufio.Writer
	line   []byte // memory for the next one
	counts Counts
}

// New returns an exporter that writes to w.
func New(w io.Writer) *Exporter {
	return &Exporter{out: bufio.NewWriterSize(w, 64<<10), counts: Counts{Skipped: map[string]uint64{}}}
}

// Counts returns what has been given to Add.
func (e *Exporter) Counts() Counts { return e.counts }

// Flush writes what is buffered. Without it the last events are missing.
func (e *Exporter) Flush() error {
	if err := e.out.Flush(); err != nil {
		return fmt.Errorf("writing events: %w", err)
	}
	return nil
}

// Add takes one line of a stream of records, without its newline, and writes
// its event if it has one. The only errors are those of writing.
func (e *Exporter) Add(raw []byte) error {
	r, err := evidence.Parse(raw)
	switch {
	case errors.Is(err, evidence.ErrOtherJSON):
		e.counts.OtherJSON++
		return nil
	case err != nil:
		e.counts.Partial++
		return nil
	}
	made := convert(raw, &r)
	if made == nil {
		e.counts.Skipped[lifecycle(r.Event)]++
		return nil
	}
	line, err := json.Marshal(made)
	if err != nil {
		return fmt.Errorf("encoding the event of %s: %w", made.Metadata.UID, err)
	}
	if made.ClassUID == classDNS {
		e.counts.DNS++
	} else {
		e.counts.HTTP++
	}
	e.line = append(printable.AppendJSON(e.line[:0], line), '\n')
	if _, err := e.out.Write(e.line); err != nil {
		return fmt.Errorf("writing events: %w", err)
	}
	return nil
}

// lifecycle returns the event of a record that is about no request, from a
// closed set: the map of counts must not grow with what a file says.
func lifecycle(event string) string {
	switch event {
	case "started", "reloaded", "reload_failed", "heartbeat", "flood", "expired", "stopped":
		return event
	}
	return "other"
}
