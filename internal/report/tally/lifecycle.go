package tally

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
)

// Lifecycle is what records say about the proxy itself.
type Lifecycle struct {
	processes   map[string]*Process
	policies    map[string]*Span
	changes     []Change
	moreChanges uint64
	floods      []Change
	moreFloods  uint64
	unknown     map[string]*Span // by event
}

// Process is what evidence.Boot does not say of the life of one process.
type Process struct {
	Version    string
	Started    bool // its first record is there
	Suppressed uint64
}

// Span is from when to when something was met, and how often.
type Span struct {
	Name     string
	Requests uint64
	period
}

// Change is a record about the policy, or about a flood.
type Change struct {
	Time             time.Time
	Process, Event   string
	Policy, Version  string
	Functions, Rules int
	Function, Source string
	Detail           string
}

// newLifecycle returns a Lifecycle in which nothing has happened.
func newLifecycle() Lifecycle {
	return Lifecycle{processes: map[string]*Process{}, policies: map[string]*Span{}, unknown: map[string]*Span{}}
}

// Process returns what is known of the process of that name.
func (c *Lifecycle) Process(name string) Process {
	if b := c.processes[name]; b != nil {
		return *b
	}
	return Process{}
}

// Policies returns the policies that records name, by their first record.
func (c *Lifecycle) Policies() []*Span { return sorted(c.policies) }

// RequestsUnder returns how many requests were decided under the policy of that hash.
func (c *Lifecycle) RequestsUnder(policy string) uint64 {
	if s := c.policies[policy]; s != nil {
		return s.Requests
	}
	return 0
}

// Changes returns the starts, reloads and expiries, by time, and how many there were beyond
// MaxChanges.
func (c *Lifecycle) Changes() (all []Change, more uint64) { return inOrder(c.changes), c.moreChanges }

// Floods returns the records of floods, by time, and how many there were beyond
// MaxChanges.
func (c *Lifecycle) Floods() (all []Change, more uint64) { return inOrder(c.floods), c.moreFloods }

// Unknown returns the events that this package knows nothing about, by their
// first record.
func (c *Lifecycle) Unknown() []*Span { return sorted(c.unknown) }

// add takes a record. Boots are followed over the whole of the files, all else
// within the period. again says that its request has been counted.
func (c *Lifecycle) add(r *evidence.Record, in, again bool) {
	c.addProcess(r)
	if !in {
		return
	}
	spanOf(c.policies, r.Policy, maxHashes).add(r, isRequest(r.Event) && !again)
	switch r.Event {
	case eventOpened, eventClosed, eventRefused, eventChallenged, eventAnswered, eventHeartbeat, eventStopped:
	case eventStarted, eventReloaded, eventReloadFailed, eventExpired:
		if len(c.changes) >= MaxChanges {
			c.moreChanges++
			return
		}
		c.changes = append(c.changes, changeOf(r))
	default:
		if strings.HasPrefix(r.Event, "flood") {
			if len(c.floods) >= MaxChanges {
				c.moreFloods++
				return
			}
			c.floods = append(c.floods, changeOf(r))
			return
		}
		spanOf(c.unknown, r.Event, 100).add(r, true)
	}
}

// isRequest reports whether an event begins or ends the decision about a request.
func isRequest(event string) bool {
	return event == eventOpened || event == eventRefused || event == eventChallenged || event == eventAnswered
}

// addProcess notes what a record says of the process that wrote it.
func (c *Lifecycle) addProcess(r *evidence.Record) {
	b := c.processes[r.Process]
	if b == nil {
		if len(c.processes) >= maxProcesses {
			return
		}
		b = &Process{Version: r.Version}
		c.processes[r.Process] = b
	}
	b.Suppressed += r.Suppressed
	b.Started = b.Started || r.Event == eventStarted
}

// spanOf returns the span of a name; beyond the limit all share one.
func spanOf(all map[string]*Span, name string, limit int) *Span {
	s := all[name]
	if s == nil && len(all) >= limit {
		name = others.Function
		s = all[name]
	}
	if s == nil {
		s = &Span{Name: name}
		all[name] = s
	}
	return s
}

// add widens a span.
func (s *Span) add(r *evidence.Record, counts bool) {
	s.widen(r.Time)
	if counts {
		s.Requests += r.Count()
	}
}

// changeOf copies what a report keeps of a record.
func changeOf(r *evidence.Record) Change {
	c := Change{
		Time: r.Time, Process: r.Process, Event: r.Event, Policy: r.Policy,
		Version: r.Version, Functions: r.Functions, Rules: r.Rules,
		Function: r.Function, Detail: r.Detail,
	}
	if r.Client.IsValid() {
		c.Source = address(r.Client).String()
	}
	return c
}

// inOrder sorts records about the proxy by time.
func inOrder(all []Change) []Change {
	slices.SortStableFunc(all, func(a, b Change) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Process, b.Process), cmp.Compare(a.Event, b.Event))
	})
	return all
}

// sorted returns spans by their first record.
func sorted(all map[string]*Span) []*Span {
	return slices.SortedFunc(maps.Values(all), func(a, b *Span) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.Name, b.Name))
	})
}
