// Package pipes lends the pipes that splice(2) needs between two sockets.
//
// What it does: it keeps a bounded number of them, hands out those that are empty, and
// closes those that nobody has needed for a while.
//
// What it does not do: it moves no bytes. Where there is no splice(2) it lends nothing,
// and whoever asks copies instead.
//
//	pool := pipes.Pool{Max: 128}
//	if p := pool.Acquire(); p != nil {
//		… splice into p.W, out of p.R …
//		pool.Release(p, true)
//	}
package pipes
