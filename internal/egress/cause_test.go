package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// What is the host's fault, the network's and our own is told apart, however deep the
// error lies.
func TestEachErrorOfADialHasItsWord(t *testing.T) {
	for _, tt := range []struct {
		err              error
		cause, exhausted string
		reason           verdict.Reason
	}{
		{syscall.ECONNREFUSED, "refused", "", verdict.ReasonDialFailed},
		{syscall.ECONNRESET, "reset", "", verdict.ReasonDialFailed},
		{syscall.EHOSTUNREACH, "host_unreachable", "", verdict.ReasonDialFailed},
		{syscall.ENETUNREACH, "network_unreachable", "", verdict.ReasonDialFailed},
		{syscall.ETIMEDOUT, "timeout", "", verdict.ReasonDialTimeout},
		{context.DeadlineExceeded, "timeout", "", verdict.ReasonDialTimeout},
		{os.ErrDeadlineExceeded, "timeout", "", verdict.ReasonDialTimeout},
		{syscall.EPERM, "not_permitted", "", verdict.ReasonDialFailed},
		{syscall.EACCES, "not_permitted", "", verdict.ReasonDialFailed},
		{syscall.EMFILE, "descriptors", "descriptors", verdict.ReasonLimitTotal},
		{syscall.ENFILE, "descriptors", "descriptors", verdict.ReasonLimitTotal},
		{syscall.EADDRNOTAVAIL, "ports", "ports", verdict.ReasonLimitTotal},
		{syscall.ENOBUFS, "kernel_memory", "kernel_memory", verdict.ReasonLimitTotal},
		{syscall.ENOMEM, "kernel_memory", "kernel_memory", verdict.ReasonLimitTotal},
		{errors.New("odd"), "other", "", verdict.ReasonDialFailed},
	} {
		err := fmt.Errorf("dialing: %w", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", tt.err)})
		if got := CauseOf(err); got != tt.cause {
			t.Errorf("%v: %q, want %q", err, got, tt.cause)
		}
		if got := ExhaustedOf(err); got != tt.exhausted {
			t.Errorf("%v exhausts %q, want %q", err, got, tt.exhausted)
		}
		if got := ReasonOf(err); got != tt.reason {
			t.Errorf("%v: %v, want %v", err, got, tt.reason)
		}
	}
	if got := CauseOf(nil); got != "" {
		t.Errorf("no error: %q", got)
	}
}
