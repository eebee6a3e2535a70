package egresstest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Chain writes records by hand, chained as the program chains them, for tests of what reads
// records. The zero Chain has no record yet.
type Chain struct {
	Process string // the process
	Policy  string // the hash that the records have
	seq     int
	prev    string
	lines   bytes.Buffer
}

// Request is one request of a Chain. Without a Verdict it is let through by a rule.
type Request struct {
	At                            time.Time
	Event                         string // "": opened
	Protocol                      string // "": connect
	Function, Host                string
	Port                          int
	Verdict, Reason, SNI, Address string
	Suppressed                    int
}

// Started writes the first record of a process.
func (c *Chain) Started(at time.Time) {
	c.Line(at, "started", `,"functions":1,"rules":1,"detail":"listens"`)
}

// Heartbeat writes a record that nothing but its time is of.
func (c *Chain) Heartbeat(at time.Time) {
	c.Line(at, "reload_failed", `,"functions":1,"rules":1,"detail":"x"`)
}

// Add writes the record of a request.
func (c *Chain) Add(r Request) {
	or := func(s, other string) string {
		if s == "" {
			return other
		}
		return s
	}
	null := func(s string) string {
		if s == "" {
			return "null"
		}
		b, _ := json.Marshal(s) // a string has its JSON
		return string(b)
	}
	address := or(r.Address, "8.8.8.8")
	members := fmt.Sprintf(`,"protocol":"%s","id":"%s-%d","client":"127.0.0.1:40000","function":%s,"owner":null,"via":"token","method":"CONNECT","host":%s,"port":%d,`+
		`"verdict":"%s","reason":%s,"rule":null,"line":null,"ticket":null,"addresses":["%s"],"dialed":"%s","sni":%s`,
		or(r.Protocol, "connect"), c.Process, c.seq, null(r.Function), null(r.Host), r.Port, or(r.Verdict, "allow"), null(r.Reason), address, address+":443", null(r.SNI))
	if r.Suppressed > 0 {
		members += fmt.Sprintf(`,"suppressed":%d`, r.Suppressed)
	}
	if r.Event == "closed" {
		members += `,"bytes_up":1,"bytes_down":1,"duration_ms":1,"ended":"client"`
	}
	c.Line(r.At, or(r.Event, "opened"), members)
}

// Line writes a record of an event with these members.
func (c *Chain) Line(at time.Time, event, members string) {
	if c.seq == 0 {
		c.prev = c.Process
	}
	c.seq++
	hash := sha256.Sum256([]byte(c.prev))
	c.prev = fmt.Sprintf(`{"time":"%s","event":"%s","boot":"%s","seq":%d,"prev":"%s","policy":"%s","version":"devel"%s}`,
		at.UTC().Format(time.RFC3339Nano), event, c.Process, c.seq, hex.EncodeToString(hash[:]), c.Policy, members)
	c.lines.WriteString(c.prev + "\n")
}

// Bytes returns the records, a line each.
func (c *Chain) Bytes() []byte { return c.lines.Bytes() }
