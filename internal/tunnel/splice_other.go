//go:build !linux

package tunnel

// Where there is no splice(2) every direction copies.

func (d *direction) takePipe() bool     { return false }
func (d *direction) spliceIn(int) bool  { return true }
func (d *direction) spliceOut(int) bool { return true }
