//go:build !linux

package proxy

// tune does nothing: TCP_DEFER_ACCEPT is Linux's.
func tune(int) error { return nil }
