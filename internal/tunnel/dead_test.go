package tunnel_test

import (
	"io"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
)

// A request into a tunnel whose origin has gone is told from what may come behind an end
// without being one.
func TestRequestIntoATunnelWhoseOriginHasEndedIsADeadReuse(t *testing.T) {
	request, closeNotify := make([]byte, 120), make([]byte, 24)
	byEachEngine(t, func(t *testing.T, newGroup groupMaker) {
		// The test sweeps itself: one sweep an hour is none.
		g := newGroup(t, tunnel.Options{Idle: 24 * time.Hour, Lifetime: 24 * time.Hour, Sweep: time.Hour})
		write := func(b []byte) func(*rig) {
			return func(r *rig) {
				up, _ := r.tunnel.Bytes()
				_, err := r.client.Write(b)
				must(t, err)
				egresstest.Eventually(t, "the bytes are moved", func() bool {
					now, _ := r.tunnel.Bytes()
					return now == up+int64(len(b)) || len(r.result) > 0
				})
			}
		}
		sweep := func(*rig) { g.Sweep(time.Now()) }
		originEnds := func(r *rig) {
			must(t, r.origin.CloseWrite())
			readAll(t, r.client)
		}
		originGoes := func(r *rig) {
			_, err := io.ReadFull(r.origin, make([]byte, len(request))) // unread it would be a reset
			must(t, err)
			must(t, r.origin.Close())
			readAll(t, r.client)
		}
		originResets := func(r *rig) {
			originEnds(r)
			must(t, r.origin.SetLinger(0))
			must(t, r.origin.Close())
		}
		for _, tt := range []struct {
			name  string
			steps []func(*rig)
			want  bool
		}{
			{"a request", []func(*rig){write(request), sweep, originEnds, sweep, sweep, write(request)}, true},
			{"a request that nobody takes", []func(*rig){write(request), sweep, originGoes, sweep, sweep, write(request)}, true},
			{"a request that fails", []func(*rig){write(request), sweep, originResets, sweep, sweep, write(request)}, true},
			{"close_notify", []func(*rig){write(request), sweep, originEnds, sweep, sweep, write(closeNotify)}, false},
			{"nothing", []func(*rig){write(request), sweep, originEnds, sweep, sweep}, false},
			{"an upload that goes on", []func(*rig){write(request), sweep, write(request), originEnds, sweep, write(request), sweep, write(request)}, false},
			{"a request while the origin is there", []func(*rig){write(request), sweep, sweep, write(request), originEnds}, false},
		} {
			r := newRig(t, g, nil)
			for _, step := range tt.steps {
				step(r)
			}
			must(t, r.client.Close())
			_ = r.origin.Close()
			select {
			case got := <-r.result:
				if got.DeadReuse != tt.want {
					t.Errorf("%s: dead reuse %v, want %v", tt.name, got.DeadReuse, tt.want)
				}
			case <-time.After(testTimeout):
				t.Fatalf("%s: the tunnel has not ended", tt.name)
			}
		}
	})
}
