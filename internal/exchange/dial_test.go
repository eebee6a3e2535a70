package exchange_test

import (
	"fmt"
	"net"
	"syscall"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/exchange"
)

// What the process or the machine lacks is not a failure of the host: 503, and
// another attempt may do better.
func TestDialThatLacksSomethingOfOurOwnIsALimitAndNoFailureOfTheHost(t *testing.T) {
	for err, want := range map[error]string{
		syscall.EMFILE: "limit_total", syscall.ENFILE: "limit_total", syscall.ENOBUFS: "limit_total",
		syscall.ENOMEM: "limit_total", syscall.EADDRNOTAVAIL: "limit_total",
		syscall.ECONNREFUSED: "dial_failed", syscall.EHOSTUNREACH: "dial_failed", syscall.ETIMEDOUT: "dial_timeout",
	} {
		if got := exchange.DialReason(fmt.Errorf("dialing: %w", &net.OpError{Op: "dial", Err: err})).String(); got != want {
			t.Errorf("%v is %s, want %s", err, got, want)
		}
	}
}
