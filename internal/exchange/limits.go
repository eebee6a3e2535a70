package exchange

import (
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/capacity"
)

// Limits bound what clients can make the server hold. A field that is zero or
// less has its default.
type Limits struct {
	Tunnels            int           // open tunnels and plain requests in all; default 20,000, or what the process has descriptors for
	TunnelsPerFunction int           // of one function; default 5,000, or Tunnels if that is less; cut in proportion to them
	Unidentified       int           // connections that have not shown who they are; default 4,096, or what there are descriptors and memory for
	HeaderTimeout      time.Duration // from accept to the end of the request head; default 10 s
	HeaderBytes        int           // of a request head; default 16 KiB
	DialTimeout        time.Duration // for lookup and dial together; default 5 s
	HelloTimeout       time.Duration // from the 200 to a whole ClientHello; default 5 s
	IdleTimeout        time.Duration // without a byte in either direction; default 330 s
	Lifetime           time.Duration // of a tunnel; default 12 h
}

// withDefaults fills in what is zero.
func (l Limits) withDefaults() Limits {
	setDefault(&l.Tunnels, 20000)
	setDefault(&l.TunnelsPerFunction, min(5000, l.Tunnels))
	setDefault(&l.Unidentified, 4096)
	setDefault(&l.HeaderTimeout, 10*time.Second)
	setDefault(&l.HeaderBytes, 16<<10)
	setDefault(&l.DialTimeout, 5*time.Second)
	setDefault(&l.HelloTimeout, 5*time.Second)
	setDefault(&l.IdleTimeout, 330*time.Second)
	setDefault(&l.Lifetime, 12*time.Hour)
	return l
}

func setDefault[T int | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// lookupTime returns how much of the time for lookup and dial a lookup may take that begins
// so long after its request: a host that has been found late is still to be dialed, and
// what a token has waited for its key is no fault of the resolver's.
func (l Limits) lookupTime(after time.Duration) time.Duration { return (l.DialTimeout - after) / 5 * 3 }

// wanted are the limits that descriptors and memory may cut.
func (l Limits) wanted() capacity.Wanted {
	return capacity.Wanted{Tunnels: l.Tunnels, PerFunction: l.TunnelsPerFunction, PreAuth: l.Unidentified}
}

// resources returns the limits as the process can have them.
func (o *Options) resources() capacity.Limits {
	if o.Files == 0 {
		o.Files = capacity.Files()
	}
	return capacity.Fit(o.Limits.wanted(), o.Files, admission.LimitOf(o.Memory))
}
