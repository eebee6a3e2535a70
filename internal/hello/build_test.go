package hello_test

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

const host = "api.example.com"

// extension is one extension of a hello that a test writes by hand.
type extension struct {
	kind uint16
	data []byte
}

// prefixed puts the length of data before it, in two bytes.
func prefixed(data string) string {
	return string([]byte{byte(len(data) >> 8), byte(len(data))}) + data
}

// entry is one entry of a server_name list.
func entry(kind byte, name string) string { return string(kind) + prefixed(name) }

// list is a server_name extension with those entries.
func list(entries ...string) extension {
	return extension{0, []byte(prefixed(strings.Join(entries, "")))}
}

// sni is a server_name extension with that one name.
func sni(name string) extension { return list(entry(0, name)) }

// greaseECH is an encrypted_client_hello extension as a browser sends it to an
// origin without one: outer kind, a random payload.
func greaseECH() extension {
	payload := "\x00\x00\x01\x00\x01\x77" + prefixed(strings.Repeat("k", 32)) + prefixed(strings.Repeat("p", 144))
	return extension{0xfe0d, []byte(payload)}
}

// message is a ClientHello as a handshake message, with its header.
func message(exts ...extension) []byte {
	var b cryptobyte.Builder
	b.AddUint8(1)
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint16(0x0303)
		b.AddBytes(bytes.Repeat([]byte{7}, 32))
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(bytes.Repeat([]byte{9}, 32)) })
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddUint16(0x1301) })
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddUint8(0) })
		if len(exts) == 0 {
			return
		}
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			for _, e := range exts {
				b.AddUint16(e.kind)
				b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(e.data) })
			}
		})
	})
	return b.BytesOrPanic()
}

// records puts a handshake message into records of at most size bytes each.
func records(msg []byte, size int) []byte {
	var out []byte
	for len(msg) > 0 {
		n := min(size, len(msg))
		out = append(out, 22, 3, 1, byte(n>>8), byte(n))
		out = append(out, msg[:n]...)
		msg = msg[n:]
	}
	return out
}

// wire is a hello in as few records as possible.
func wire(exts ...extension) []byte { return records(message(exts...), 1<<14) }

// unwrap takes the record headers off again.
func unwrap(t testing.TB, b []byte) []byte {
	t.Helper()
	var msg []byte
	for len(b) > 0 {
		n := 5 + int(b[3])<<8 + int(b[4])
		msg = append(msg, b[5:n]...)
		b = b[n:]
	}
	return msg
}

// large is a hello of more than 16 KiB for host: 500 extensions that mean
// nothing, and the key shares of four groups.
func large() []byte {
	exts := []extension{}
	for i := range 500 {
		exts = append(exts, extension{uint16(0x4000 + i), make([]byte, 16)})
	}
	shares := ""
	for i := range 4 {
		shares += string([]byte{0x63, byte(i)}) + prefixed(strings.Repeat("s", 2000))
	}
	return wire(append(exts, extension{51, []byte(prefixed(shares))}, sni(host))...)
}

// recorded returns hellos that other TLS stacks sent for host, by file name, which
// is the client and its version. Each is all that the client sent to a listener
// on loopback that never answered, in hexadecimal.
func recorded(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/clients/*.hex")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recorded hellos: %v", err)
	}
	hellos := map[string][]byte{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		hellos[filepath.Base(file)] = b
	}
	return hellos
}

// oracle is what Go's own TLS server makes of b: the server name it would serve,
// and whether it accepts b as a ClientHello at all.
func oracle(b []byte) (name string, ok bool) {
	stop := errors.New("seen enough")
	conn := &replay{r: bytes.NewReader(b)}
	_ = tls.Server(conn, &tls.Config{
		GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
			name, ok = info.ServerName, true
			return nil, stop
		},
	}).Handshake()
	return name, ok
}

// replay is a connection on which the client has said all it will say.
type replay struct{ r io.Reader }

func (c *replay) Read(b []byte) (int, error)       { return c.r.Read(b) }
func (c *replay) Write(b []byte) (int, error)      { return len(b), nil }
func (c *replay) Close() error                     { return nil }
func (c *replay) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *replay) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *replay) SetDeadline(time.Time) error      { return nil }
func (c *replay) SetReadDeadline(time.Time) error  { return nil }
func (c *replay) SetWriteDeadline(time.Time) error { return nil }
