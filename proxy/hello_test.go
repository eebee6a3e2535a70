package proxy_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// extension is one extension of a ClientHello.
type extension struct {
	kind uint16
	data string
}

// sized puts the length of s before it, in two bytes.
func sized(s string) string { return string([]byte{byte(len(s) >> 8), byte(len(s))}) + s }

// names is a server_name extension with these names.
func names(all ...string) extension {
	list := ""
	for _, n := range all {
		list += "\x00" + sized(n)
	}
	return extension{0, sized(list)}
}

// greaseECH is the encrypted_client_hello that browsers send to everyone.
var greaseECH = extension{0xfe0d, "\x00\x00\x01\x00\x01\x77" + sized(strings.Repeat("k", 32)) + sized(strings.Repeat("p", 144))}

// helloMessage is a ClientHello without record headers.
func helloMessage(exts ...extension) string {
	list := ""
	for _, e := range exts {
		list += string([]byte{byte(e.kind >> 8), byte(e.kind)}) + sized(e.data)
	}
	body := "\x03\x03" + strings.Repeat("r", 32) + "\x00" + "\x00\x02\x13\x01" + "\x01\x00" + sized(list)
	return "\x01\x00" + sized(body)
}

// inRecords puts a handshake message into records of at most size bytes.
func inRecords(message string, size int) string {
	var b strings.Builder
	for len(message) > 0 {
		n := min(size, len(message))
		b.WriteString("\x16\x03\x01" + sized(message[:n]))
		message = message[n:]
	}
	return b.String()
}

// clientHello is a ClientHello in one record.
func clientHello(exts ...extension) string { return inRecords(helloMessage(exts...), 1<<14) }

// firstFlight returns what a Go client with that configuration sends first.
func firstFlight(t *testing.T, config *tls.Config) string {
	t.Helper()
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() { defer close(done); _ = tls.Client(near, config).Handshake() }()
	b := make([]byte, 64<<10)
	n, err := far.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	far.Close()
	<-done
	near.Close()
	return string(b[:n])
}

// echConfig is an ECHConfigList (RFC 9849, section 4) with that public name.
func echConfig(t *testing.T, public string) []byte {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint16(0xfe0d)
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			b.AddUint8(1)
			b.AddUint16(0x0020) // DHKEM(X25519, HKDF-SHA256)
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(key.PublicKey().Bytes()) })
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddUint16(1); b.AddUint16(1) })
			b.AddUint8(32)
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(public)) })
			b.AddUint16(0)
		})
	})
	return b.BytesOrPanic()
}

func TestAHelloForTheHostPassesByteExact(t *testing.T) {
	t.Parallel()
	many := []extension{}
	for i := range 500 {
		many = append(many, extension{uint16(0x4000 + i), strings.Repeat("e", 60)})
	}
	good := clientHello(names("tls.test"))
	rows := map[string]string{
		"the name as it is":                    good,
		"upper case":                           clientHello(names("TLS.tEst")),
		"a trailing dot":                       clientHello(names("tls.test.")),
		"GREASE of Encrypted ClientHello":      clientHello(greaseECH, names("tls.test")),
		"four records":                         inRecords(helloMessage(names("tls.test")), len(helloMessage(names("tls.test")))/4+1),
		"records of one byte":                  inRecords(helloMessage(names("tls.test")), 1),
		"32 KiB of extensions":                 clientHello(append(many[:200:200], names("tls.test"))...),
		"500 extensions in several records":    inRecords(helloMessage(append(many, names("tls.test"))...), 1<<14),
		"early data in the same segment":       good + "\x17\x03\x03\x00\x05early",
		"a change_cipher_spec in the same one": good + "\x14\x03\x03\x00\x01\x01",
		"a Go client":                          firstFlight(t, &tls.Config{ServerName: "tls.test"}),
	}
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{})
	for name, first := range rows {
		for _, way := range []string{"with the CONNECT", "after the 200", "byte by byte"} {
			if way == "byte by byte" && len(first) > 4096 {
				continue
			}
			t.Run(name+", "+way, func(t *testing.T) {
				raw := connectAs("billing", o.at("tls.test"))
				if way == "with the CONNECT" {
					raw += first
				}
				c, br := r.send(raw)
				wantEstablished(t, br)
				switch way {
				case "after the 200":
					_, _ = io.WriteString(c, first)
				case "byte by byte": // each a segment: Go sets TCP_NODELAY
					for i := range len(first) {
						_, _ = io.WriteString(c, first[i:i+1])
					}
				}
				wantExactly(t, br, first)
				c.Close()
			})
		}
	}
	if n := len(r.of("refused")); n != 0 {
		t.Errorf("refused: %v", r.of("refused"))
	}
}

func TestHellosOfRealClientsPass(t *testing.T) {
	files, err := filepath.Glob("../internal/hello/testdata/clients/*.hex")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recorded hellos: %v", err)
	}
	o := newOrigin(t, echo)
	r := newRig(t, rigOptions{functions: []function{{name: "billing", rules: []rule{
		{host: "api.example.com", ports: []uint16{o.port}, addresses: loopback},
	}}}})
	r.resolves("api.example.com", "127.0.0.1")
	for _, file := range files {
		hexed, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		first, err := hex.DecodeString(strings.Join(strings.Fields(string(hexed)), ""))
		if err != nil {
			t.Fatal(err)
		}
		c, br := r.send(connectAs("billing", o.at("api.example.com")) + string(first))
		wantEstablished(t, br)
		wantExactly(t, br, string(first))
		c.Close()
	}
}

func TestAnotherHelloEndsTheTunnelAndNothingReachesTheOrigin(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, echo)
	r := newRig(t, rigOptions{functions: []function{{name: "billing", rules: []rule{
		{host: "tls.test", ports: []uint16{o.port}, addresses: loopback},
		{host: "other.test", ports: []uint16{o.port}, addresses: loopback},
		{cidr: "127.0.0.1/32", ports: []uint16{o.port}},
	}}}})
	r.resolves("tls.test", "127.0.0.1")
	sslv2 := "\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10" + strings.Repeat("s", 37)
	for i, row := range []struct{ name, host, first, reason string }{
		{"a host that the function may reach too", "tls.test", clientHello(names("other.test")), "sni_mismatch"},
		{"a host that nobody may reach", "tls.test", clientHello(names("evil.test")), "sni_mismatch"},
		{"a longer name", "tls.test", clientHello(names("tls.test.evil.test")), "sni_mismatch"},
		{"no extension", "tls.test", clientHello(), "sni_missing"},
		{"an empty list", "tls.test", clientHello(extension{0, sized("")}), "sni_missing"},
		{"an empty name", "tls.test", clientHello(names("")), "sni_missing"},
		{"an address", "tls.test", clientHello(names("127.0.0.1")), "sni_mismatch"},
		{"a NUL behind the name", "tls.test", clientHello(names("tls.test\x00.evil.test")), "sni_mismatch"},
		{"two names", "tls.test", clientHello(names("tls.test", "evil.test")), "sni_mismatch"},
		{"two extensions", "tls.test", clientHello(names("tls.test"), names("evil.test")), "not_tls"},
		{"Encrypted ClientHello for another public name", "tls.test", firstFlight(t, &tls.Config{
			ServerName: "tls.test", EncryptedClientHelloConfigList: echConfig(t, "public.example")}), "sni_mismatch"},
		{"a literal address, with its text as the name", "127.0.0.1", clientHello(names("127.0.0.1")), "sni_mismatch"},
		{"a literal address, with another name", "127.0.0.1", clientHello(names("tls.test")), "sni_mismatch"},
		{"SSH", "tls.test", "SSH-2.0-OpenSSH_9.6\r\n", "not_tls"},
		{"a zero byte", "tls.test", "\x00", "not_tls"},
		{"a PROXY header", "tls.test", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + clientHello(names("tls.test")), "not_tls"},
		{"SSLv2", "tls.test", sslv2, "not_tls"},
		{"a handshake of 16 MiB", "tls.test", "\x16\x03\x01\x40\x00\x01\xff\xff\xff\x03\x03", "not_tls"},
		{"empty records", "tls.test", strings.Repeat("\x16\x03\x01\x00\x00", 1000), "not_tls"},
		{"an alert first", "tls.test", "\x15\x03\x01\x00\x02\x01\x00" + clientHello(names("tls.test")), "not_tls"},
		{"a change_cipher_spec first", "tls.test", "\x14\x03\x01\x00\x01\x01" + clientHello(names("tls.test")), "not_tls"},
		{"a ServerHello", "tls.test", "\x16\x03\x01\x00\x06\x02\x00\x00\x02\x03\x03", "not_tls"},
		{"two hellos in one record", "tls.test", inRecords(helloMessage(names("tls.test"))+helloMessage(names("evil.test")), 1<<14), "not_tls"},
		{"a drip up to the limit", "tls.test", inRecords("\x01\x01\x00\x00"+strings.Repeat("x", 1<<16-1), 80), "not_tls"},
	} {
		for _, early := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, early %v", row.name, early), func(t *testing.T) {
				raw := connectAs("billing", o.at(row.host))
				if early {
					raw += row.first
				}
				c, br := r.send(raw)
				wantEstablished(t, br)
				if !early {
					_, _ = io.WriteString(c, row.first)
				}
				wantEnd(t, br)
				refused := r.of("refused")
				want := 2*i + 1
				if early {
					want++
				}
				if len(refused) != want {
					t.Fatalf("%d records refused, want %d", len(refused), want)
				}
				if m := refused[want-1]; m["reason"] != row.reason || m["verdict"] != "deny" {
					t.Errorf("record: %v, want %s", m, row.reason)
				}
			})
		}
	}
	if got := o.text(); got != "" {
		t.Errorf("the origin got %q", got)
	}
}

func TestSilenceAfterThe200EndsTheTunnelAndTheGreetingOfTheOriginStaysHere(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, func(c net.Conn) { _, _ = io.WriteString(c, "220 smtp.test ready\r\n"); echo(c) })
	r := openRig(t, o, rigOptions{limits: proxy.Limits{HelloTimeout: 200 * time.Millisecond}})
	for _, first := range []string{"", clientHello(names("tls.test"))[:20]} {
		_, br := r.send(connectAs("billing", o.at("tls.test")) + first)
		wantEstablished(t, br)
		wantEnd(t, br)
	}
	refused := r.of("refused")
	if len(refused) != 2 || refused[0]["reason"] != "hello_timeout" || refused[1]["reason"] != "hello_timeout" {
		t.Errorf("records: %v", refused)
	}
	if got := o.text(); got != "" {
		t.Errorf("the origin got %q", got)
	}
}

func TestAClientThatLeavesBeforeItsHelloIsNoRefusal(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{})
	for _, first := range []string{"", clientHello(names("tls.test"))[:20]} {
		c, br := r.send(connectAs("billing", o.at("tls.test")) + first)
		wantEstablished(t, br)
		c.Close()
	}
	eventually(t, "both closed", func() bool { return len(r.of("closed")) == 2 })
	for _, m := range r.of("closed") {
		if m["ended"] != "client" || m["bytes_up"] != 0.0 {
			t.Errorf("record: %v", m)
		}
	}
	if n := len(r.of("refused")); n != 0 {
		t.Errorf("%d refused", n)
	}
}

func TestReportModeLetsAHelloForAnotherHostThroughAndSaysSo(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, echo)
	r := newRig(t, rigOptions{
		limits: proxy.Limits{HelloTimeout: 300 * time.Millisecond},
		functions: []function{{name: "reports", report: time.Now().Add(time.Hour), rules: []rule{
			{host: "tls.test", ports: []uint16{o.port}, addresses: loopback},
		}}},
	})
	r.resolves("tls.test", "127.0.0.1")
	for first, reason := range map[string]string{
		clientHello(names("evil.test")): "sni_mismatch", clientHello(): "sni_missing", "SSH-2.0-x\r\n": "not_tls",
	} {
		c, br := r.send(connectAs("reports", o.at("tls.test")) + first)
		wantEstablished(t, br)
		wantExactly(t, br, first)
		found := false
		for _, m := range r.of("opened") {
			found = found || m["reason"] == reason && m["verdict"] == "report"
		}
		if !found {
			t.Errorf("no record reports %s", reason)
		}
		// The tunnel is not ended by a look at a policy that has not changed.
		r.server.Rejudge()
		_, _ = io.WriteString(c, "still here")
		wantExactly(t, br, "still here")
		c.Close()
	}
	before := o.text()
	_, br := r.send(connectAs("reports", o.at("tls.test")))
	wantEstablished(t, br)
	wantEnd(t, br)
	if m := r.one("refused"); m["reason"] != "hello_timeout" {
		t.Errorf("record: %v", m)
	}
	if o.text() != before {
		t.Error("the origin got bytes of a hello that did not come")
	}
}

func TestTheRecordKeepsTheNameThatWasAsked(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{})
	hostile := "evil\r\n\x1b[31m\u2028\xff\"}.test"
	_, br := r.send(connectAs("billing", o.at("tls.test")) + clientHello(names(hostile)))
	wantEstablished(t, br)
	wantEnd(t, br)
	if m := r.one("refused"); !strings.HasPrefix(text(m["sni"]), "evil") {
		t.Errorf("sni = %q", m["sni"])
	}
	r.records.mu.Lock()
	defer r.records.mu.Unlock()
	for line := range bytes.Lines(r.records.buf.Bytes()) {
		if i := bytes.IndexFunc(bytes.TrimSuffix(line, []byte("\n")), func(c rune) bool {
			return c < 0x20 || c == 0x2028 || c == 0xfffd && !bytes.Contains(line, []byte("\uFFFD"))
		}); i >= 0 {
			t.Errorf("a control byte at %d of %q", i, line)
		}
	}
}
