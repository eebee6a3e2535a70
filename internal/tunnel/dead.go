package tunnel

// goodbye is the most that a client says, in bytes, to an origin that has ended, and that asks for nothing: close_notify
// (RFC 8446, section 6.1), which is 85 bytes with the longest of the ciphers of TLS 1.2, or 24 in TLS 1.3, there behind a
// GOAWAY of HTTP/2 with 39 (RFC 9113, section 6.8). A request of HTTP/1.1 over TLS is longer, by its User-Agent alone.
const goodbye = 96

// findDead notes a tunnel whose origin has ended in order, and into which the client has written nothing since the sweep
// before: what it was still sending, of an upload that the origin did not wait for, is not taken for a new request. The
// sweeper alone calls it.
func (t *Tunnel) findDead(up int64) {
	if t.state.Load() == stateOf(Origin) && t.dead.Load() == 0 {
		t.dead.Store(1 + up)
	}
}

// reused reports whether the client has written more than a goodbye since the tunnel was found dead, delivered or not; up
// is what has moved up in all.
func (t *Tunnel) reused(up int64) bool {
	dead := t.dead.Load()
	return dead > 0 && up+int64(t.up.undelivered)-(dead-1) > goodbye
}
