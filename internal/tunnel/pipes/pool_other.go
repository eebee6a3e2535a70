//go:build !linux

package pipes

// Pipe does not exist where there is no splice(2).
type Pipe struct{}

// Pool lends nothing; Max is not read.
type Pool struct{ Max int }

// Release does nothing: there is nothing to take back.
func (p *Pool) Release(*Pipe, bool) {}

// Trim does nothing.
func (p *Pool) Trim() {}

// Close does nothing.
func (p *Pool) Close() {}
