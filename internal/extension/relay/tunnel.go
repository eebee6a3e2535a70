package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// How a freeze is noticed.
const (
	// clockInterval is how often the wall clock is looked at: a client that thaws writes
	// into what it thinks is open soon after.
	clockInterval = 100 * time.Millisecond
	// frozen is the jump of the wall clock that counts as a freeze.
	frozen = 5 * time.Second
)

// tunnel is a client's connection and the proxy's that bytes go between.
type tunnel struct {
	client, proxy *peer
	unanswered    atomic.Bool // the client has sent something, and nothing has come back since
	writing       atomic.Bool // something that has come back is not with the client yet
}

// serveTunnel moves bytes until both sides have ended, or either has failed.
func (r *Relay) serveTunnel(client, proxy *peer) {
	t := &tunnel{client: client, proxy: proxy}
	r.mu.Lock()
	r.tunnels[t] = struct{}{}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.tunnels, t)
		r.mu.Unlock()
	}()
	var upload sync.WaitGroup
	defer upload.Wait()
	upload.Go(func() {
		t.copy(proxy, client, make([]byte, 8<<10), func() { t.unanswered.Store(true); r.lookAtClock() }, func() {})
	})
	t.copy(client, proxy, make([]byte, 16<<10), func() { t.writing.Store(true) }, func() { t.unanswered.Store(false); t.writing.Store(false) })
}

// copy moves what one side sends to the other, with a call before and behind each write.
// An end is passed on as one; an error ends the tunnel.
func (t *tunnel) copy(to, from *peer, buf []byte, before, behind func()) {
	for {
		n, err := from.in.Read(buf)
		if n > 0 {
			before()
			if _, err := to.Write(buf[:n]); err != nil {
				t.abort()
				return
			}
			behind()
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			to.closeWrite()
			return
		default:
			t.abort()
			return
		}
	}
}

// abort ends both sides of a tunnel that has failed.
func (t *tunnel) abort() {
	t.client.abort()
	_ = t.proxy.Close() // it has failed, or is told so
}

// idle reports whether nothing is on its way: the last bytes were the origin's, they are
// with the client, and neither side has sent anything since.
func (t *tunnel) idle() bool {
	return !t.unanswered.Load() && !t.writing.Load() && !readable(t.client.Conn) && !readable(t.proxy.Conn)
}

// readable reports whether bytes, or an end, wait to be read from a connection. By TLS
// the bytes are those of the connection below it. What it reads stays there.
func readable(c net.Conn) bool {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	s, ok := c.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return true
	}
	empty := false
	err = raw.Control(func(fd uintptr) {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		empty = errors.Is(err, syscall.EAGAIN)
	})
	return err != nil || !empty
}

// watchClock looks at the wall clock until the context ends.
func (r *Relay) watchClock(ctx context.Context) {
	ticker := time.NewTicker(clockInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			r.lookAtClock()
		}
	}
}

// lookAtClock ends what waits for nothing where the wall clock has jumped. One caller of
// several finds the jump.
func (r *Relay) lookAtClock() {
	now := r.Now().UnixMilli()
	if before := r.seen.Swap(now); now-before >= frozen.Milliseconds() {
		r.closeIdle(time.Duration(now-before) * time.Millisecond)
	}
}

// closeIdle closes the tunnels with nothing on its way, the client's side first: its pool
// has to find it closed before it writes. Whether the other end of such a tunnel is still
// there nobody can know.
func (r *Relay) closeIdle(jump time.Duration) {
	var idle []*tunnel
	r.mu.Lock()
	for t := range r.tunnels {
		if t.idle() {
			idle = append(idle, t)
		}
	}
	r.mu.Unlock()
	for _, t := range idle {
		_ = t.client.Close() // nothing is unread, so it is an end and no reset
	}
	for _, t := range idle {
		_ = t.proxy.Close() // the same
	}
	r.Log.Info("the clock has jumped", "by", jump, "idle tunnels closed", len(idle))
}
