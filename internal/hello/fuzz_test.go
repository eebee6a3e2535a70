package hello_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hello"
)

// FuzzRead compares Read with Go's own TLS server as the oracle. Read may refuse
// more, for the reasons listed in stricter; it may never accept a hello and see
// another name in it than the server does.
func FuzzRead(f *testing.F) {
	for _, b := range recorded(f) {
		f.Add(b, uint16(len(b)))
		f.Add(records(unwrap(f, b), 100), uint16(7))
	}
	f.Add(wire(), uint16(1))
	f.Add(wire(sni("api.example.com."), greaseECH()), uint16(9))
	f.Add(wire(list(entry(0, host), entry(0, "evil.test"))), uint16(50))
	f.Add(wire(list(entry(1, "evil.test"), entry(0, host))), uint16(50))
	f.Add(wire(sni(host), sni("evil.test")), uint16(50))
	f.Add(append(wire(sni(host)), wire(sni("evil.test"))...), uint16(50))
	f.Add(records(append(message(sni(host)), 1, 0), 1<<14), uint16(50))
	f.Add([]byte("\x15\x03\x01\x00\x02\x01\x00"+string(wire(sni(host)))), uint16(1))
	f.Add([]byte("\x16\x03\x01\x40\x00\x01\xff\xff\xff"), uint16(2))
	f.Add([]byte("\x16\x03\x01\x00\x00"), uint16(5))
	f.Fuzz(func(t *testing.T, sent []byte, size uint16) {
		compare(t, sent, int(size)+1)
	})
}

// FuzzExtensions is FuzzRead with the lengths around the list of extensions
// always right, so that the changes reach what is read of the names.
func FuzzExtensions(f *testing.F) {
	head := len(message(extension{})) - 4 // up to the first extension
	for _, exts := range [][]extension{
		{sni(host)},
		{sni("api.example.com."), greaseECH(), {16, []byte("\x00\x03\x02h2")}},
		{sni("192.0.2.1"), {0xfe0d, []byte{1}}},
		{list(entry(0, host), entry(0, "evil.test"))},
		{list(entry(1, "evil.test"), entry(0, host))},
		{{16, []byte("\x00\x03\x02h2")}, sni(host), sni("evil.test")},
		{sni(""), list(), {0, nil}},
	} {
		f.Add(message(exts...)[head:], uint16(1<<14))
	}
	f.Fuzz(func(t *testing.T, exts []byte, size uint16) {
		msg := message(extension{})[:head]
		n, all := len(exts), head-4+len(exts)
		msg[1], msg[2], msg[3] = byte(all>>16), byte(all>>8), byte(all)
		msg[head-2], msg[head-1] = byte(n>>8), byte(n)
		compare(t, records(append(msg, exts...), int(size)%(1<<14)+1), 1460)
	})
}

// compare reads sent here and at the oracle, and here once more in segments of
// size bytes.
func compare(t *testing.T, sent []byte, size int) {
	t.Helper()
	r := bytes.NewReader(sent)
	b, h, err := hello.Read(r, nil)
	if rest := sent[len(sent)-r.Len():]; !bytes.Equal(append(b[:len(b):len(b)], rest...), sent) {
		t.Fatalf("%d bytes came back and %d are left of %d", len(b), len(rest), len(sent))
	}
	if cap(b) > max(4<<10, min(2*len(sent), hello.MaxBytes)) {
		t.Errorf("%d bytes held for %d sent", cap(b), len(sent))
	}
	piecewise(t, sent, size, h, err)
	name, ok := oracle(sent)
	switch {
	case err == nil && ok:
		agree(t, h, name)
	case ok && !stricter(err, len(sent)):
		t.Errorf("refused here and not by the server: %v", err)
	}
}

// agree checks that the server's name passes, if it is a host name, and that
// none other does.
func agree(t *testing.T, h hello.Hello, name string) {
	t.Helper()
	if err := h.Check(strings.ToLower(name)); name != "" && err != nil && !errors.Is(err, hello.ErrBadName) {
		t.Errorf("%q is served, and refused here: %v", name, err)
	}
	sees := h.ServerName()
	if h.Matches(strings.ToLower(strings.TrimSuffix(sees, "."))) && sees != name {
		t.Errorf("%q passes here, the server serves %q", sees, name)
	}
}

// stricter reports whether err is one of the refusals of n bytes that Go's
// server does not share.
func stricter(err error, n int) bool {
	for _, reason := range []string{
		"first byte of a record is 0x15", // it skips warning alerts
		"major version of a record",      // it takes any below 16
		"behind the hello in its record", // it looks at them later
	} {
		if strings.Contains(err.Error(), reason) {
			return true
		}
	}
	// It sets no limit to the headers of a hello in small records.
	return errors.Is(err, hello.ErrTooLarge) && n >= hello.MaxBytes
}

// piecewise checks that the answer does not depend on the segments.
func piecewise(t *testing.T, sent []byte, size int, want hello.Hello, wantErr error) {
	t.Helper()
	h, _, err := feed(sent, size)
	if errors.Is(err, hello.ErrIncomplete) {
		if !errors.Is(wantErr, io.EOF) && !errors.Is(wantErr, io.ErrUnexpectedEOF) {
			t.Errorf("in pieces of %d: %v, whole: %v", size, err, wantErr)
		}
		return // Read met the end where the parser asks for more
	}
	if h != want || fmt.Sprint(err) != fmt.Sprint(wantErr) {
		t.Errorf("in pieces of %d: %v, whole: %v", size, err, wantErr)
	}
}
