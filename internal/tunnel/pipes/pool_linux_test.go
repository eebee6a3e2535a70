package pipes

import "testing"

func TestPoolTrimsOnlyWhatWasNotNeeded(t *testing.T) {
	pool := Pool{Max: 3}
	a, b, c := pool.Acquire(), pool.Acquire(), pool.Acquire()
	if pool.Acquire() != nil {
		t.Fatal("a fourth pipe was lent of three")
	}
	for _, p := range []*Pipe{a, b, c} {
		pool.Release(p, true)
	}
	pool.Trim()
	if pool.open != 3 {
		t.Fatalf("%d pipes open, want all three, which were in use since the last trim", pool.open)
	}
	pool.Release(pool.Acquire(), true)
	pool.Trim()
	if pool.open != 1 {
		t.Fatalf("%d pipes open, want the one that was used", pool.open)
	}
	pool.Close()
	if pool.open != 0 {
		t.Fatalf("%d pipes open after close", pool.open)
	}
}
