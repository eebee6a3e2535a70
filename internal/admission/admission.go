// Package admission bounds what callers can make the process hold: who may wait, and
// how many of what at once.
//
// What it does: it counts connections before and after their caller is known, slots
// for tunnels and plain requests, connections that wait for their next request, dials under way, refused connections that linger,
// credentials that do not hold, and memory; it gives each caller a share where one
// could take what all need, and says which bound is reached. [Fit] cuts the bounds to
// the descriptors and the memory of the process.
//
// What it does not do: it opens and closes no connection (who has to go is told by a
// method of its own), knows no policy, and makes nobody wait but in
// [Connections.Acquire] and [Slots.Wait].
package admission

import (
	"time"
)

// Connections are the places for client connections: one for each, tunnels included,
// and one more for each whose caller has not been known yet. A connection takes both
// before it is accepted, so that a flood waits in the kernel's listen queue. Of the
// places of those that are not known an eighth is kept free where it can be: one that
// comes there has another put out ([Connections.MakeRoom]),
// and does not wait until that has gone.
type Connections struct {
	// Limiter has those of whom one goes for a newcomer where there is no place; nil: they
	// go when they like.
	Limiter *PreAuthLimiter

	all, preAuth chan struct{}
}

// askAgain is after how long Acquire, while it waits, has another one go.
const askAgain = 100 * time.Millisecond

// NewConnections returns places for that many connections, of which so many at a time
// may be before their caller is known.
func NewConnections(all, preAuth int) *Connections {
	return &Connections{all: make(chan struct{}, all), preAuth: make(chan struct{}, preAuth)}
}

// MakeRoom has the oldest silent connection of whoever has most evict itself where the
// places of those that are not known are taken, but for those that others who are going
// still hold. False: there is room, or none is silent.
func (c *Connections) MakeRoom() bool {
	enough := cap(c.preAuth) - max(cap(c.preAuth)/8, 1)
	if taken := len(c.preAuth); taken <= enough || c.Limiter == nil || taken-c.Limiter.Evicting() <= enough {
		return false
	}
	out := c.Limiter.oldestOfLargest()
	if out != nil {
		out.Evict()
	}
	return out != nil
}

// Acquire waits for both places; false: done was closed first.
func (c *Connections) Acquire(done <-chan struct{}) bool {
	if !c.enter(c.all, done) {
		return false
	}
	if !c.enter(c.preAuth, done) {
		<-c.all
		return false
	}
	return true
}

// enter puts a token into slots when one is free.
func (c *Connections) enter(slots chan struct{}, done <-chan struct{}) bool {
	select {
	case slots <- struct{}{}: // the common case, for less than what waiting costs
		return true
	default:
	}
	again := time.NewTicker(askAgain)
	defer again.Stop()
	for {
		select {
		case slots <- struct{}{}:
			return true
		case <-done:
			return false
		case <-again.C:
			if cap(c.preAuth) > 1 { // a place of one alone is had until its head is late
				c.MakeRoom()
			}
		}
	}
}

// TryAcquire is Acquire that does not wait; false: there is no room now.
func (c *Connections) TryAcquire() bool {
	select {
	case c.all <- struct{}{}:
	default:
		return false
	}
	select {
	case c.preAuth <- struct{}{}:
		return true
	default:
		<-c.all
		return false
	}
}

// ReleasePreAuth gives back the place that a connection had until its caller was known.
func (c *Connections) ReleasePreAuth() { <-c.preAuth }

// Release gives back the place of a connection that has ended.
func (c *Connections) Release() { <-c.all }

// PreAuth returns how many connections there are whose caller is not known.
func (c *Connections) PreAuth() int { return len(c.preAuth) }

// Len returns how many connections there are.
func (c *Connections) Len() int { return len(c.all) }
