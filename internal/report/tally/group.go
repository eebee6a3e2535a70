package tally

import (
	"cmp"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// CallerKey is a function with its owner, as records name them. The zero
// CallerKey is everyone whom the proxy could not identify.
type CallerKey struct{ Function, Owner string }

// others stands for the functions beyond maxGroups. No function has that name.
var others = CallerKey{Function: "(more functions)"}

// Table says in which table a request is shown.
type Table uint8

// The tables of a function.
const (
	Allowed  Table = iota // let through by a rule
	Reported              // let through by report mode
	Refused
	Lookups // DNS questions
	Caller  // of callers that are not a function: by source
	tables  // how many there are
)

// RowKind is what rows of many destinations have in common. Which fields are set
// depends on the table.
type RowKind struct {
	Table                                                 Table
	Event, Protocol, Verdict, Reason, Rule, Ticket, QType string
	Line                                                  int
}

// Key is what the rows of one function tell apart. Callers that are not a function
// have a source and no destination. It is small: there may be a million.
type Key struct {
	*RowKind
	Host   string
	Port   uint16
	Source netip.Addr
}

// Row is what was counted of one key.
type Row struct {
	Key
	Attempts, Requests uint64
	Suppressed         uint64 // of Requests
	AfterOpen          uint64 // of Requests: had been opened, or let through, before
	BytesUp, BytesDown int64
	period
	Policies     []string // in force, in the order of their first records; a few
	MorePolicies bool     // there were further ones
}

// Group is what was counted of one function.
type Group struct {
	CallerKey
	Methods    map[string]uint64 // requests by how the caller was known
	Suppressed uint64
	rows       map[Key]*Row
	recent     [16]*Row // of rows, by the hash of the host, and the table
	rest       [tables]Rest
	sizes      [tables]int
}

// Rest is what goes beyond the rows of one table.
type Rest struct{ Rows, Requests uint64 }

// Rest returns what goes beyond the rows of a table.
func (g *Group) Rest(t Table) Rest { return g.rest[t] }

// IsEmpty reports whether a table of the group has nothing in it.
func (g *Group) IsEmpty(t Table) bool { return g.sizes[t] == 0 && g.rest[t].Requests == 0 }

// IsNobody reports whether the group is of the callers that were not identified.
func (g *Group) IsNobody() bool { return g.CallerKey == CallerKey{} }

// Nobody returns the group of the callers that were not identified. It is empty
// where there were none.
func (c *Counter) Nobody() *Group {
	if g := c.groups[CallerKey{}]; g != nil {
		return g
	}
	return &Group{}
}

// Groups returns the functions by name. The one of those beyond the bound and
// the one of callers that were not identified stand last.
func (c *Counter) Groups() []*Group {
	return slices.SortedFunc(maps.Values(c.groups), func(x, y *Group) int {
		last := func(k CallerKey) int {
			switch k {
			case CallerKey{}:
				return 2
			case others:
				return 1
			}
			return 0
		}
		return cmp.Or(last(x.CallerKey)-last(y.CallerKey), strings.Compare(x.Function, y.Function), strings.Compare(x.Owner, y.Owner))
	})
}

// All returns the rows of one table, in no order.
func (g *Group) All(t Table) iter.Seq[*Row] {
	return func(yield func(*Row) bool) {
		for _, w := range g.rows {
			if w.Table == t && !yield(w) {
				return
			}
		}
	}
}

// Sum adds up the requests of one table.
func (g *Group) Sum(t Table) (rows, requests uint64) {
	rows, requests = uint64(g.sizes[t])+g.rest[t].Rows, g.rest[t].Requests
	for w := range g.All(t) {
		requests += w.Requests
	}
	return rows, requests
}

// Rows returns the rows of one table, those with the most requests first.
func (g *Group) Rows(t Table) []*Row {
	return slices.SortedFunc(g.All(t), func(a, b *Row) int {
		if c := cmp.Or(cmp.Compare(b.Requests, a.Requests), strings.Compare(a.Host, b.Host)); c != 0 {
			return c // nearly always
		}
		return compareKeys(&a.Key, &b.Key)
	})
}

// compareKeys orders rows that have the same number of requests and the same host.
func compareKeys(a, b *Key) int {
	return cmp.Or(
		cmp.Compare(a.Port, b.Port), a.Source.Compare(b.Source),
		strings.Compare(a.Protocol, b.Protocol), strings.Compare(a.Verdict, b.Verdict), strings.Compare(a.Reason, b.Reason),
		strings.Compare(a.Rule, b.Rule), cmp.Compare(a.Line, b.Line), strings.Compare(a.Ticket, b.Ticket),
		strings.Compare(a.QType, b.QType), strings.Compare(a.Event, b.Event),
	)
}
