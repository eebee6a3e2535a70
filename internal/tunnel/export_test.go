package tunnel

import "time"

// Sweep is what the sweeper does when it is that late.
func (g *Group) Sweep(now time.Time) { g.sweep(now) }
