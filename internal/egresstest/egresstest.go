// Package egresstest has what the tests of several packages need: certificates,
// connections and name servers' sockets on loopback, a buffer that is written and read
// at once, and waiting.
//
// What it does: everything is the real thing with the defaults of a test. It fails the
// test where it cannot be had, and what it starts ends with the test.
//
// What it does not do: it is no mock, knows no package of ours, and is imported by
// tests alone.
//
//	ca := egresstest.NewAuthority(t)
//	certificate := ca.Issue("api.example.com")
//	…
//	egresstest.Eventually(t, "the tunnel ends", func() bool { return server.Tunnels() == 0 })
package egresstest

import (
	"bytes"
	"encoding/json"
	"sync"
	"testing"
	"time"
)

// Timeout is how long a test waits for what must happen before it gives up; no test
// that passes comes near it.
const Timeout = 30 * time.Second

// Eventually waits for what the kernel, another goroutine or another process brings
// about without a signal, and ends the test where that is not so within Timeout.
func Eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	if !Within(Timeout, done) {
		t.Fatalf("not after %v: %s", Timeout, what)
	}
}

// Within waits for done as Eventually does, so long, and reports whether it came about.
func Within(limit time.Duration, done func() bool) bool {
	for deadline := time.Now().Add(limit); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// Buffer is a buffer that goroutines write while a test reads it. The zero value is
// empty and ready.
type Buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write appends p; it never fails.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// Bytes returns a copy of what was written.
func (b *Buffer) Bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.buf.Bytes())
}

// String returns what was written.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Len returns how many bytes were written.
func (b *Buffer) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Len()
}

// Reset empties the buffer.
func (b *Buffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.Reset()
}

// Records parses lines of JSON, each as a T, and ends the test at one that is none.
func Records[T any](t testing.TB, lines []byte) (all []T) {
	t.Helper()
	for line := range bytes.Lines(lines) {
		var one T
		if err := json.Unmarshal(line, &one); err != nil {
			t.Fatalf("record %q: %v", line, err)
		}
		all = append(all, one)
	}
	return all
}
