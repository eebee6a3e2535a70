package proxy_test

import "testing"

// The records of a request say where its addresses had outlived their TTL, however the
// lookup came by them.
func TestRecordsSayThatAddressesWereStale(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{})
	for _, stale := range []bool{true, false} {
		found := resolvedTo("127.0.0.1")
		found.Stale = stale
		r.names.Store("any.test", found)
		for i := range 2 {
			before := len(r.of("closed"))
			c, br := r.send(connectAs("billing", o.at("any.test")))
			wantEstablished(t, br)
			c.Close()
			eventually(t, "a record of the end", func() bool { return len(r.of("closed")) == before+1 })
			for _, event := range []string{"opened", "closed"} {
				if said, is := r.of(event)[before]["stale"]; is != stale || is && said != true {
					t.Errorf("request %d, stale %t: %s says %v", i, stale, event, said)
				}
			}
		}
	}
}
