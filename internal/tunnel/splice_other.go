//go:build !linux

package tunnel

// pipe does not exist where there is no splice(2); every direction copies.
type pipe struct{}

// pipePool lends nothing.
type pipePool struct{ max int }

func (p *pipePool) release(*pipe, bool) {}
func (p *pipePool) trim()               {}
func (p *pipePool) close()              {}

func (d *direction) takePipe() bool     { return false }
func (d *direction) spliceIn(int) bool  { return true }
func (d *direction) spliceOut(int) bool { return true }
