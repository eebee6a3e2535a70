package admission

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// slotsFor returns slots in a task with that much memory.
func slotsFor(memory uint64, c *Excess) *Slots {
	s := &Slots{}
	s.Init(SlotsOptions{
		Total: 20000, PerFunction: 5000, ExtraDials: 1024, Memory: memory, Excess: c,
		Short:   func() bool { return false },
		NewData: func(string) any { return nil },
	})
	return s
}

// However many functions hold all that they can, with plain requests whose hosts do not
// answer, one more is let in with as many as it needs, and all of it fits half of the
// memory.
func TestFunctionsThatHoldWhatTheyCanLeaveRoomForOthers(t *testing.T) {
	const memory = 256 << 20
	big, small := RequestBytes(false, 15<<10), RequestBytes(false, 500)
	for _, functions := range []int{1, 2, 4, 10, 20} {
		var excess Excess
		s, shed := slotsFor(memory, &excess), map[string]int{}
		let := map[string]int{}
		attack := func() {
			for i := range 5000 {
				name := fmt.Sprint("greedy-", i%functions)
				_, reason, cause := s.Acquire(name, big)
				shed[cause]++
				switch reason {
				case verdict.ReasonNone:
					let[name]++
				case verdict.ReasonLimitFunction:
				default:
					t.Fatalf("%d functions: one is answered %v", functions, reason)
				}
			}
		}
		attack()
		// 3/(k+3) of half of the memory is left, of which a third may be one's.
		const needs = 20
		var held []*Usage
		for i := range needs {
			u, reason, _ := s.Acquire("honest", small)
			if reason != verdict.ReasonNone {
				t.Fatalf("%d functions: request %d of another is answered %v", functions, i, reason)
			}
			held = append(held, u)
			attack()
		}
		if n := s.Held(); n > memory/memoryForHeld {
			t.Errorf("%d functions: %d bytes are held", functions, n)
		}
		if one := int64(let["greedy-0"]) * big; one > memory/memoryForHeld/int64(bounds.Memory.Part) {
			t.Errorf("%d functions: one holds %d bytes", functions, one)
		}
		for _, u := range held {
			s.Release(u, small)
		}
		got := excess.Report(time.Now())
		if shed[ShedMemory] == 0 || len(got) != 1 || got[0].Row != RowMemory || got[0].Caller.Function == "honest" {
			t.Errorf("%d functions: %v shed, reported %v", functions, shed, got)
		}
	}
}

// Where nobody knows how much memory there is nothing is bounded by it, and what is given
// back can be had again.
func TestBytesAreGivenBackAndNotBoundedWhereNothingIsKnown(t *testing.T) {
	free := slotsFor(0, nil)
	for i := range 5000 {
		if _, reason, _ := free.Acquire("one", 1<<40); reason != verdict.ReasonNone {
			t.Fatalf("request %d is answered %v", i, reason)
		}
	}
	s, shed := slotsFor(8<<20, nil), map[string]int{}
	for range 3 {
		var all []*Usage
		for {
			u, reason, cause := s.Acquire("one", 64<<10)
			shed[cause]++
			if reason != verdict.ReasonNone {
				break
			}
			all = append(all, u)
		}
		if len(all) != 16 || s.Grow(all[0], 1) {
			t.Errorf("%d requests of 64 KiB in a megabyte, or more", len(all))
		}
		s.Shrink(all[0], 64<<10)
		if !s.Grow(all[0], 32<<10) || s.Grow(all[0], 33<<10) {
			t.Error("what was given back cannot be had, or more than that can")
		}
		s.Release(all[0], 32<<10)
		for _, u := range all[1:] {
			s.Release(u, 64<<10)
		}
		if s.Held() != 0 || s.Open() != 0 {
			t.Errorf("%d bytes and %d slots are held by nobody", s.Held(), s.Open())
		}
	}
	if shed[ShedMemory] == 0 || slices.Contains([]int{shed[ShedTunnels], shed[ShedFunction]}, 1) {
		t.Errorf("shed: %v", shed)
	}
}
