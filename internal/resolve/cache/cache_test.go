package cache

import (
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// What goes and comes leaves every entry in the slot that it says, and the sum of their
// sizes that of the store.
func TestStoreCountsWhatItHolds(t *testing.T) {
	const limit = 64 << 10
	s := NewStore(limit)
	for i := range 2000 {
		s.Add(Key{Name: fmt.Sprintf("n%d.example", i%500), Type: dns.TypeA}, NewFailure(ErrNotFound, time.Duration(1+i)))
		for hot := range 7 {
			if e := s.Get(Key{Name: fmt.Sprintf("n%d.example", hot), Type: dns.TypeA}); e != nil {
				e.Hit()
			}
		}
	}
	held := 0
	for slot, e := range s.ring {
		if e.slot != slot || s.entries[e.key] != e {
			t.Fatalf("entry %v is lost", e.key)
		}
		held += e.size
	}
	if n, bytes := s.Len(); held != bytes || len(s.ring) != n || bytes > limit || n < limit/1000 {
		t.Errorf("it counts %d bytes, %d entries, and holds %d in %d", bytes, n, held, len(s.ring))
	}
	for i := range 7 {
		if s.Get(Key{Name: fmt.Sprintf("n%d.example", i), Type: dns.TypeA}) == nil {
			t.Errorf("entry %d, which is asked for always, has been pushed out", i)
		}
	}
}
