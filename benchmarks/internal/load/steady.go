package load

import (
	"io"
	"sync"
	"time"
)

// Timed is one request of the load.
type Timed struct {
	Began time.Time
	Took  time.Duration
}

// SteadyLoad asks with four workers until stop is closed. finish waits for them and
// returns the first error; the samples are complete then.
func (t *Target) SteadyLoad(o *Origins, stop <-chan struct{}) (samples *[]Timed, finish func() error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var first error
	samples = &[]Timed{}
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(2 * time.Millisecond):
				}
				began := time.Now()
				err := t.one(o)
				mu.Lock()
				*samples = append(*samples, Timed{began, time.Since(began)})
				if err != nil && first == nil {
					first = err
				}
				mu.Unlock()
			}
		})
	}
	return samples, func() error { wg.Wait(); return first }
}

// one is one allowed CONNECT with 64 bytes down.
func (t *Target) one(o *Origins) error {
	c, br, err := t.open(o.Reply)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(o.hello); err != nil {
		return err
	}
	_, err = io.CopyN(io.Discard, br, replyBytes)
	return err
}
