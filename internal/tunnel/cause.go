package tunnel

import (
	"cmp"
	"errors"
	"os"
	"time"
)

// Cause says what ended a tunnel. It is the first thing that happened: what the other socket does afterwards
// is a consequence. Only a limit or an [Tunnel.End] replaces an orderly close of one side that the other has not followed.
type Cause uint8

// The closed set of causes.
const (
	// Error is the zero value: a reset, or any other failure of a socket, came before an orderly close of either side.
	Error Cause = iota
	// Client closed its sending direction first, in order (a FIN; on TLS with or without close_notify).
	Client
	// Origin closed its sending direction first, in order.
	Origin
	// Idle means that for Options.Idle no byte could be written to either side. Bytes that one side sends and the other
	// does not take are not activity.
	Idle
	// Lifetime means that the tunnel was open for Options.Lifetime.
	Lifetime
	// Revoked means that a later policy would refuse it.
	Revoked
	// Shutdown means that the server stopped before the tunnel did.
	Shutdown

	// Causes is how many there are.
	Causes
)

// String returns the cause as records carry it: "error", "client", "origin", "idle", "lifetime", "revoked" or "shutdown".
func (c Cause) String() string {
	switch c {
	case Client:
		return "client"
	case Origin:
		return "origin"
	case Idle:
		return "idle"
	case Lifetime:
		return "lifetime"
	case Revoked:
		return "revoked"
	case Shutdown:
		return "shutdown"
	default:
		return "error"
	}
}

// Result is how a tunnel ended.
type Result struct {
	// Up and Down are the bytes that the socket towards the origin, and towards the client, has accepted; Up includes
	// Params.Prefix. After Error the last of them may never have arrived.
	Up, Down int64
	// Ended is what came first.
	Ended Cause
	// DeadReuse says that the client took the tunnel for open when its origin had ended: it wrote into it, and nobody will
	// answer. A pool does so that could not see the end, such as that of a function which was frozen.
	DeadReuse bool
	// Duration is the time from Start until both directions had ended.
	Duration time.Duration
	// Err is the failure of a socket: always set for Error, set for Client and Origin if the other direction failed
	// after the orderly close, nil for the rest. It holds addresses: for logs, not for the peer.
	Err error
}

// failure returns what Result.Err shall be. A direction that was woken by the tunnel's own deadline has not failed; for
// Error such a deadline is reported if there is nothing else, because then somebody else has set it.
func failure(ended Cause, up, down error) error {
	if ended > Origin {
		return nil
	}
	for _, err := range [...]error{up, down} {
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
	if ended == Error {
		return cmp.Or(up, down)
	}
	return nil
}
