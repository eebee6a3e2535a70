package report

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
)

// lifecycle is what records say about the proxy itself.
type lifecycle struct {
	boots       map[string]*boot
	policies    map[string]*span
	changes     []change
	moreChanges uint64
	floods      []change
	moreFloods  uint64
	unknown     map[string]*span // by event: what this package knows nothing about
}

// boot is what the verifier does not say of the life of one process.
type boot struct {
	version    string
	started    bool // its first record is there
	suppressed uint64
}

// span is from when to when something was met, and how often.
type span struct {
	first, last micros
	requests    uint64
}

// change is a record about the policy, or about a flood.
type change struct {
	time             time.Time
	boot, event      string
	policy, version  string
	functions, rules int
	function, source string
	detail           string
}

// newLifecycle returns a lifecycle in which nothing has happened.
func newLifecycle() lifecycle {
	return lifecycle{boots: map[string]*boot{}, policies: map[string]*span{}, unknown: map[string]*span{}}
}

// add takes a record. Boots are followed over the whole of the files, all else
// within the period. again says that its request has been counted.
func (c *lifecycle) add(r *evidence.Record, in, again bool) {
	c.boot(r)
	if !in {
		return
	}
	spanOf(c.policies, r.Policy, maxHashes).add(r, isRequest(r.Event) && !again)
	switch r.Event {
	case eventOpened, eventClosed, eventRefused, eventChallenged, eventAnswered, eventHeartbeat, eventStopped:
	case eventStarted, eventReloaded, eventReloadFailed:
		if len(c.changes) >= maxChanges {
			c.moreChanges++
			return
		}
		c.changes = append(c.changes, changeOf(r))
	default:
		if strings.HasPrefix(r.Event, "flood") {
			if len(c.floods) >= maxChanges {
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

// boot follows the life of the process that wrote a record.
func (c *lifecycle) boot(r *evidence.Record) {
	b := c.boots[r.Process]
	if b == nil {
		if len(c.boots) >= maxBoots {
			return
		}
		b = &boot{version: r.Version}
		c.boots[r.Process] = b
	}
	b.suppressed += r.Suppressed
	b.started = b.started || r.Event == eventStarted
}

// spanOf returns the span of a name; beyond the limit all share one.
func spanOf(all map[string]*span, name string, limit int) *span {
	s := all[name]
	if s == nil && len(all) >= limit {
		name = others.function
		s = all[name]
	}
	if s == nil {
		s = &span{}
		all[name] = s
	}
	return s
}

// add widens a span.
func (s *span) add(r *evidence.Record, counts bool) {
	period(&s.first, &s.last, r.Time)
	if counts {
		s.requests += r.Count()
	}
}

// changeOf copies what a report keeps of a record.
func changeOf(r *evidence.Record) change {
	c := change{
		time: r.Time, boot: r.Process, event: r.Event, policy: r.Policy,
		version: r.Version, functions: r.Functions, rules: r.Rules,
		function: r.Function, detail: r.Detail,
	}
	if r.Client.IsValid() {
		c.source = address(r.Client).String()
	}
	return c
}

// inOrder sorts records about the proxy by time.
func inOrder(all []change) []change {
	slices.SortStableFunc(all, func(a, b change) int {
		return cmp.Or(a.time.Compare(b.time), cmp.Compare(a.boot, b.boot), cmp.Compare(a.event, b.event))
	})
	return all
}

// sortedSpans returns the names of spans by their first record.
func sortedSpans(all map[string]*span) []string {
	return slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		return cmp.Or(cmp.Compare(all[a].first, all[b].first), cmp.Compare(a, b))
	})
}
