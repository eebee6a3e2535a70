//go:build !linux

package reactor

// Events are what a descriptor is ready for.
type Events uint32

// Loop does not exist here.
type Loop struct{}

// New returns ErrUnsupported.
func New() (*Loop, error) { return nil, ErrUnsupported }
