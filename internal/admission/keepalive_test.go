package admission

import (
	"fmt"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
)

// However many functions keep all connections that they can, one more may keep some, and
// one alone may keep half.
func TestFunctionsThatKeepConnectionsLeaveRoomForOthers(t *testing.T) {
	const places = 8192
	for _, functions := range []int{1, 2, 4, 10, 20} {
		var excess Excess
		s := slotsFor(0, &excess)
		s.keepAlive.init(places, places/int64(bounds.KeepAlive.Part))
		usage := func(name string) *Usage {
			u, _, _ := s.Acquire(name, 0)
			return u
		}
		var greedy []*Usage
		for i := range functions {
			greedy = append(greedy, usage(fmt.Sprint("greedy-", i)))
		}
		for range places {
			for _, u := range greedy {
				u.AcquireKeepAlive()
			}
		}
		honest := usage("honest")
		kept := 0
		for honest.AcquireKeepAlive() {
			kept++
		}
		if want := places / (functions + 1) / 2; kept < want {
			t.Errorf("beside %d functions another one keeps %d, want %d at least", functions, kept, want)
		}
		if n := greedy[0].keepAlive.Load(); n > places/int64(bounds.KeepAlive.Part) || n < int64(places/(functions+1)) {
			t.Errorf("of %d functions one keeps %d", functions, n)
		}
		over := excess.Report(time.Now())
		if len(over) != 1 || over[0].Row != RowKeepAlive || over[0].Times < uint64(functions) {
			t.Errorf("over their share: %+v", over)
		}
		for s.IdleKeepAlive() > 0 {
			for _, u := range append(greedy, honest) {
				if u.keepAlive.Load() > 0 {
					u.ReleaseKeepAlive()
				}
			}
		}
		if !greedy[0].AcquireKeepAlive() {
			t.Error("what was given back is not to be had again")
		}
	}
}
