package hello_test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hello"
)

// feed parses b as it comes in pieces of size bytes, and returns how many bytes
// the parser had been given when it decided.
func feed(b []byte, size int) (h hello.Hello, n int, err error) {
	var p hello.Parser
	for n = 0; ; n = min(n+size, len(b)) {
		if h, err = p.Parse(b[:n]); !errors.Is(err, hello.ErrIncomplete) || n == len(b) {
			return h, n, err
		}
	}
}

func TestWhatIsNotTLSIsRefusedOnTheByteThatShowsIt(t *testing.T) {
	ok := wire(sni(host))
	serverHello := slices.Clone(ok)
	serverHello[5] = 2
	for _, tt := range []struct {
		name string
		in   string
		at   int // how many bytes show it
		want error
	}{
		{"SSH", "SSH-2.0-OpenSSH_9.6\r\n", 1, hello.ErrNotTLS},
		{"HTTP", "GET / HTTP/1.1\r\n\r\n", 1, hello.ErrNotTLS},
		{"PROXY version 1", "PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n", 1, hello.ErrNotTLS},
		{"PROXY version 2", "\r\n\r\n\x00\r\nQUIT\n\x21\x11", 1, hello.ErrNotTLS},
		{"a zero byte", "\x00", 1, hello.ErrNotTLS},
		{"SSLv2 hello", "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10", 1, hello.ErrNotTLS},
		{"SSLv2 hello, long header", "\x00\x2e\x00\x01\x03\x01", 1, hello.ErrNotTLS},
		{"alert first", "\x15\x03\x01\x00\x02\x01\x00" + string(ok), 1, hello.ErrNotTLS},
		{"change_cipher_spec first", "\x14\x03\x01\x00\x01\x01" + string(ok), 1, hello.ErrNotTLS},
		{"application data first", "\x17\x03\x01\x00\x01x" + string(ok), 1, hello.ErrNotTLS},
		{"major version 2", "\x16\x02\x00\x00\x10", 2, hello.ErrNotTLS},
		{"major version 4", "\x16\x04\x01\x00\x10", 2, hello.ErrNotTLS},
		{"DTLS", "\x16\xfe\xfd\x00\x00\x00\x00", 2, hello.ErrNotTLS},
		{"empty records", strings.Repeat("\x16\x03\x01\x00\x00", 1000) + string(ok), 5, hello.ErrNotTLS},
		{"record above 16 KiB", "\x16\x03\x01\x40\x01", 5, hello.ErrNotTLS},
		{"HelloRequest", "\x16\x03\x01\x00\x04\x00\x00\x00\x00", 6, hello.ErrNotTLS},
		{"ServerHello", string(serverHello), 6, hello.ErrNotTLS},
		{"16 MiB declared", "\x16\x03\x01\x40\x00\x01\xff\xff\xff", 9, hello.ErrTooLarge},
		{"64 KiB and a byte declared", "\x16\x03\x01\x40\x00\x01\x01\x00\x01", 9, hello.ErrTooLarge},
		{"declared in records of a byte", "\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00\x01\xff" +
			"\x16\x03\x01\x00\x01\xff\x16\x03\x01\x00\x01\xff", 24, hello.ErrTooLarge},
	} {
		for _, size := range []int{1, 7, len(tt.in)} {
			h, n, err := feed([]byte(tt.in), size)
			if !errors.Is(err, tt.want) || !errors.Is(err, hello.ErrNotTLS) || h != (hello.Hello{}) {
				t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
			}
			if errors.Is(err, hello.ErrMalformed) { // which is for what begins like a hello
				t.Errorf("%s: %v", tt.name, err)
			}
			if size == 1 && n != tt.at {
				t.Errorf("%s: decided after %d bytes, want %d", tt.name, n, tt.at)
			}
		}
	}
}

func TestBrokenHelloIsRefused(t *testing.T) {
	msg := message(sni(host))
	// change returns the message with one byte changed.
	change := func(at int, to byte) []byte {
		m := slices.Clone(msg)
		m[at] = to
		return records(m, 1<<14)
	}
	const session, suites, compression, extensions = 4 + 34, 4 + 34 + 33, 4 + 34 + 33 + 4, 4 + 34 + 33 + 4 + 2
	half := records(msg, 40)[:45]
	for _, tt := range []struct {
		name string
		in   []byte
	}{
		{"length 0", []byte("\x16\x03\x01\x00\x04\x01\x00\x00\x00")},
		{"random cut short", []byte("\x16\x03\x01\x00\x07\x01\x00\x00\x03\x03\x03\x07")},
		{"session id past the end", change(session, 255)},
		{"cipher suites past the end", change(suites, 255)},
		{"compression past the end", change(compression, 255)},
		{"extensions past the end", change(extensions, 255)},
		{"extensions end early", change(extensions+1, msg[extensions+1]-1)},
		{"a byte behind the extensions", func() []byte {
			m := append(slices.Clone(msg), 0)
			m[3]++
			return records(m, 1<<14)
		}()},
		{"extension past the end", change(extensions+4, 255)},
		{"server_name list past the end", change(extensions+6, 255)},
		{"server_name past the end", change(extensions+9, 255)},
		{"garbage behind the server_name list", wire(extension{0, append(sni(host).data, 'x')})},
		{"server_name list of one byte", wire(extension{0, []byte{0}})},
		{"half a second entry", wire(list(entry(0, host), "\x00\x00"))},
		{"two server_name extensions", wire(sni(host), sni("evil.test"))},
		{"two server_name extensions apart", wire(sni("evil.test"), greaseECH(), sni(host))},
		{"two ALPN extensions", wire(extension{16, nil}, sni(host), extension{16, nil})},
		{"two ECH extensions", wire(greaseECH(), sni(host), greaseECH())},
		{"a byte behind the hello in its record", records(append(slices.Clone(msg), 0), 1<<14)},
		{"a second hello in the record", records(append(slices.Clone(msg), message(sni("evil.test"))...), 1<<14)},
		{"alert inside the hello", slices.Concat(half, []byte("\x15\x03\x01\x00\x02\x01\x00"))},
		{"empty record inside the hello", slices.Concat(half, []byte("\x16\x03\x01\x00\x00"))},
		{"other version inside the hello", slices.Concat(half, []byte("\x16\x02\x01\x00\x01"))},
		{"large record inside the hello", slices.Concat(half, []byte("\x16\x03\x01\x40\x01"))},
	} {
		for _, size := range []int{1, len(tt.in)} {
			h, _, err := feed(tt.in, size)
			if !errors.Is(err, hello.ErrMalformed) || !errors.Is(err, hello.ErrNotTLS) || h != (hello.Hello{}) {
				t.Errorf("%s: %v, want %v", tt.name, err, hello.ErrMalformed)
			}
		}
	}
}

func TestHelloIsReadHoweverItIsSplit(t *testing.T) {
	hellos := recorded(t)
	hellos["large"] = large()
	for name, one := range hellos {
		want, msg := parse(t, one), unwrap(t, one)
		if !want.Matches(host) {
			t.Errorf("%s: %v", name, want.Check(host))
		}
		sizes := map[string]int{"four records": len(msg)/4 + 1, "records of three bytes": 3, "records of one byte": 1}
		for split, size := range sizes {
			in := records(msg, size)
			if len(in) > hello.MaxBytes {
				continue
			}
			for _, segment := range []int{1, 2, 5, 1460, len(in)} {
				h, n, err := feed(in, segment)
				if err != nil || h != want {
					t.Errorf("%s in %s, segments of %d: %v", name, split, segment, err)
				}
				if segment == 1 && n != len(in) {
					t.Errorf("%s in %s: decided after %d of %d bytes", name, split, n, len(in))
				}
			}
		}
	}
}

func TestHelloOf16KiBWith500ExtensionsIsRead(t *testing.T) {
	in := large()
	if len(in) < 16<<10 {
		t.Fatalf("only %d bytes", len(in))
	}
	if h := parse(t, in); !h.Matches(host) {
		t.Error(h.Check(host))
	}
}

func TestHelloIsReadUpToTheLimitAndNotBeyond(t *testing.T) {
	base := len(message(sni(host), extension{0xff00, nil}))
	for _, tt := range []struct {
		size int // of the message's body
		want error
	}{
		{hello.MaxHello, nil},
		{hello.MaxHello + 1, hello.ErrTooLarge},
	} {
		// The extensions hold less than 64 KiB in all; the cipher suites make
		// up the rest.
		pad := tt.size + 4 - base
		msg := message(sni(host), extension{0xff00, make([]byte, min(pad, 65000-len(host)))})
		msg = growSuites(msg, tt.size+4-len(msg))
		var p hello.Parser
		h, err := p.Parse(records(msg, 1<<14))
		if !errors.Is(err, tt.want) || (err == nil && !h.Matches(host)) {
			t.Errorf("%d bytes: %v, want %v", tt.size, err, tt.want)
		}
	}
}

// growSuites makes a message n bytes longer through its list of cipher suites.
func growSuites(msg []byte, n int) []byte {
	const at = 4 + 34 + 33
	list := int(msg[at])<<8 | int(msg[at+1]) + n
	out := slices.Concat(msg[:at], []byte{byte(list >> 8), byte(list)}, make([]byte, n), msg[at+2:])
	body := len(out) - 4
	out[1], out[2], out[3] = byte(body>>16), byte(body>>8), byte(body)
	return out
}

func TestHeadersCannotTakeMoreThanTheLimit(t *testing.T) {
	in := records(unwrap(t, large()), 1)
	if len(in) <= hello.MaxBytes {
		t.Fatalf("only %d bytes", len(in))
	}
	for _, size := range []int{1000, len(in)} {
		_, n, err := feed(in, size)
		if !errors.Is(err, hello.ErrTooLarge) || (size == 1000 && n >= hello.MaxBytes+1000) {
			t.Errorf("pieces of %d: %v after %d bytes", size, err, n)
		}
	}
}

func TestParserLooksAtEachByteOnce(t *testing.T) {
	in := large()
	scratch := slices.Clone(in)
	var p hello.Parser
	for n := range in {
		if _, err := p.Parse(scratch[:n]); !errors.Is(err, hello.ErrIncomplete) {
			t.Fatalf("after %d bytes: %v", n, err)
		}
		if n > 5 { // a header that is cut short is looked at again
			scratch[n-5] = 0xee
		}
	}
	copy(scratch, in)
	if h, err := p.Parse(scratch); err != nil || !h.Matches(host) {
		t.Errorf("Parse: %v", err)
	}
}

func TestRefusalIsFinal(t *testing.T) {
	ok := wire(sni(host))
	for _, in := range []string{"G", "\x16\x03\x01\x00\x00", "\x16\x03\x01\x00\x04\x02", "\x16\x03\x01\x00\x04\x01\xff\xff\xff"} {
		var p hello.Parser
		_, first := p.Parse([]byte(in))
		for _, again := range [][]byte{[]byte(in), ok, slices.Concat([]byte(in), ok)} {
			if _, err := p.Parse(again); !errors.Is(err, hello.ErrNotTLS) || err.Error() != first.Error() {
				t.Errorf("%q: first %v, then %v", in, first, err)
			}
		}
	}
}

func TestWhatFollowsTheHelloIsNotLookedAt(t *testing.T) {
	in := slices.Concat(wire(sni(host)), []byte("\x17\x03\x03\x00\x05early\x00\xff"))
	if h := parse(t, in); !h.Matches(host) {
		t.Error(h.Check(host))
	}
}

func TestHelloKeepsNoReferenceToTheInput(t *testing.T) {
	in := wire(sni(host))
	h := parse(t, in)
	clear(in)
	if !h.Matches(host) || h.ServerName() != host {
		t.Errorf("ServerName() = %q after the buffer was used again", h.ServerName())
	}
}

func TestParsingAllocatesNothing(t *testing.T) {
	for name, in := range recorded(t) {
		t.Run(name, func(t *testing.T) {
			if n := testing.AllocsPerRun(100, func() {
				var p hello.Parser
				if h, err := p.Parse(in); err != nil || !h.Matches(host) {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func TestSplitHelloAllocatesNoMoreThanItsLength(t *testing.T) {
	in := records(message(sni(host)), 1)
	if n := testing.AllocsPerRun(100, func() { _, _, _ = feed(in, 1) }); n != 1 {
		t.Errorf("%v allocations, want 1", n)
	}
	if got := allocated(func() { _, _, _ = feed(in, len(in)) }); got > uint64(len(in)) {
		t.Errorf("%d bytes allocated for %d sent", got, len(in))
	}
}

// allocated returns how many bytes a call of f allocates, on average.
func allocated(f func()) uint64 {
	const runs = 100
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / runs
}

func TestDeclaredLengthAllocatesNothing(t *testing.T) {
	for _, in := range []string{
		"\x16\x03\x01\x40\x00\x01\x01\x00\x00\x03\x03", // 64 KiB are declared, and allowed
		"\x16\x03\x01\x40\x00\x01\xff\xff\xff\x03\x03",
	} {
		b := []byte(in)
		if got := allocated(func() { _, _, _ = feed(b, 1) }); got > 1024 {
			t.Errorf("%x: %d bytes allocated", in, got)
		}
	}
}

func TestErrorsDoNotEchoTheInput(t *testing.T) {
	for _, in := range [][]byte{
		[]byte("secret\r\n"),
		wire(extension{0, append(sni("secret").data, 'x')}),
		wire(sni("secret"), sni("secret")),
	} {
		var p hello.Parser
		_, err := p.Parse(in)
		if err == nil || bytes.Contains([]byte(fmt.Sprint(err)), []byte("secret")) {
			t.Errorf("%v", err)
		}
	}
}
