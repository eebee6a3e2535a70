package tunnel

import "time"

// Sweep does what the janitor does when it is that late.
func (g *Group) Sweep(now time.Time) { g.sweep(now) }
