package egress

import (
	"context"
	"errors"
	"net"
	"syscall"
)

// What of our own a dial can want; see connect(2) and socket(2).
const (
	ExhaustedDescriptors  = "descriptors"   // EMFILE, ENFILE
	ExhaustedPorts        = "ports"         // EADDRNOTAVAIL: of the addresses that this machine has
	ExhaustedKernelMemory = "kernel_memory" // ENOBUFS, ENOMEM
)

// errnos are the errors of a dial that have words: what is wanted of our own first.
var errnos = []struct {
	errno     syscall.Errno
	exhausted string // "": the host or the network has failed
	cause     string
}{
	{syscall.EMFILE, ExhaustedDescriptors, ""},
	{syscall.ENFILE, ExhaustedDescriptors, ""},
	{syscall.EADDRNOTAVAIL, ExhaustedPorts, ""},
	{syscall.ENOBUFS, ExhaustedKernelMemory, ""},
	{syscall.ENOMEM, ExhaustedKernelMemory, ""},
	{syscall.ECONNREFUSED, "", "refused"},
	{syscall.ECONNRESET, "", "reset"},
	{syscall.EHOSTUNREACH, "", "host_unreachable"},
	{syscall.ENETUNREACH, "", "network_unreachable"},
	{syscall.ETIMEDOUT, "", "timeout"},
	{syscall.EACCES, "", "not_permitted"},
	{syscall.EPERM, "", "not_permitted"},
}

// ExhaustedOf returns what of our own a dial failed for want of; "": nothing. The host has
// no part in that, and another attempt or another proxy may do better.
func ExhaustedOf(err error) string {
	for _, e := range errnos {
		if e.exhausted != "" && errors.Is(err, e.errno) {
			return e.exhausted
		}
	}
	return ""
}

// CauseOf says in a word why a dial has failed: refused, reset, host_unreachable,
// network_unreachable, timeout, not_permitted (by this machine: a firewall, say), what is
// exhausted, or other. "" is no error.
func CauseOf(err error) string {
	var timeout net.Error
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	}
	for _, e := range errnos {
		if errors.Is(err, e.errno) {
			return e.exhausted + e.cause
		}
	}
	return "other"
}
