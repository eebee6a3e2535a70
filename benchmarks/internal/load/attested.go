package load

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/stats"
)

// attests reports whether the target knows functions by tokens of AWS.
func attests(t *Target) bool { return t.Attest != nil }

// bearing returns the target as somebody asks it who shows a token of AWS.
func (t *Target) bearing(token string) *Target {
	as := *t
	as.Auth = "Proxy-Authorization: Bearer " + token + "\r\n"
	return &as
}

// remembered is allowed with a token of AWS that the proxy has verified before.
func (t *Target) remembered(o *Origins, n int) (outcome, error) {
	as := t.bearing(t.Attest())
	if err := as.one(o); err != nil {
		return outcome{}, err
	}
	return as.allowed(o, n)
}

// What honest callers do: so many at once, each after a pause, and one request in so many
// with a token that nobody has shown before.
const (
	honestWorkers = 4
	honestPause   = 2 * time.Millisecond
	honestNew     = 10
)

// honest opens n connections as callers do that AWS attests; with a flood, beside others at
// the same address who show forged tokens until the last of them is done. The figure is the
// 99th of a hundred latencies, in milliseconds.
func (t *Target) honest(o *Origins, n int, flood bool) (p99 []float64, err error) {
	callers := make([]*Target, 1+n/honestNew)
	for i := range callers {
		callers[i] = t.bearing(t.Attest())
	}
	if err := callers[0].one(o); err != nil {
		return nil, err
	}
	if flood {
		finish := t.flood(o, callers[0].Auth)
		defer func() { err = errors.Join(err, finish()) }()
	}
	latencies := make([]time.Duration, n)
	err = parallel(honestWorkers, n, func(i int) error {
		time.Sleep(honestPause)
		as := callers[0]
		if i%honestNew == honestNew-1 {
			as = callers[1+i/honestNew]
		}
		began := time.Now()
		err := as.one(o)
		latencies[i] = time.Since(began)
		return err
	})
	return []float64{Milliseconds(stats.Percentile(latencies, .99))}, err
}

// The bounds of a flood: so many at once, each after a pause, and so many in all.
const (
	floodWorkers = 2
	floodPause   = time.Millisecond
	floodMost    = 50000
)

// errStopped ends a flood.
var errStopped = errors.New("stopped")

// flood shows tokens that are of one that holds but for their signature, each another, until
// finish is called. finish fails where one of them was let through.
func (t *Target) flood(o *Origins, auth string) (finish func() error) {
	stop, done := make(chan struct{}), make(chan error, 1)
	signed := auth[:strings.LastIndexByte(auth, '.')+1]
	go func() {
		done <- parallel(floodWorkers, floodMost, func(int) error {
			select {
			case <-stop:
				return errStopped
			case <-time.After(floodPause):
				return t.forge(o, signed)
			}
		})
	}()
	return func() error {
		close(stop)
		if err := <-done; !errors.Is(err, errStopped) {
			return err
		}
		return nil
	}
}

// forge shows one forged token. Its signature is a number below any modulus of 2,048 bits, so
// that it is verified like one that holds.
func (t *Target) forge(o *Origins, signed string) error {
	signature := make([]byte, 256)
	_, _ = rand.Read(signature[1:]) // it never fails
	as := *t
	as.Auth = signed + base64.RawURLEncoding.EncodeToString(signature) + "\r\n"
	return as.refused(o, t.Host, " 407 ", " 429 ")
}
