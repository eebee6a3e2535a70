package dnsmsg_test

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/dnsmsg"
)

// message packs one with a record in each section.
func message(t testing.TB, compress bool) []byte {
	t.Helper()
	m := new(dns.Msg).SetQuestion("a.example.", dns.TypeA)
	m.Compress = compress
	for _, section := range []*[]dns.RR{&m.Answer, &m.Ns, &m.Extra} {
		for _, text := range []string{"a.example. 60 IN A 192.0.2.1", "b.a.example. 60 IN TXT text"} {
			rr, err := dns.NewRR(text)
			if err != nil {
				t.Fatal(err)
			}
			*section = append(*section, rr)
		}
	}
	wire, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

// A count that does not fit the body is seen in all four sections, above and below, and
// so is what stands behind the last record, and a message that is cut anywhere.
func TestCountThatDoesNotFitTheBodyIsSeen(t *testing.T) {
	for _, compress := range []bool{false, true} {
		wire := message(t, compress)
		if !dnsmsg.Whole(wire) {
			t.Fatalf("compressed %t: a whole message is none", compress)
		}
		for section := 4; section < 12; section += 2 {
			right := binary.BigEndian.Uint16(wire[section:])
			for _, count := range []uint16{0, right - 1, right + 1, 65535} {
				if changed := slices.Clone(wire); count != right {
					binary.BigEndian.PutUint16(changed[section:], count)
					if dnsmsg.Whole(changed) {
						t.Errorf("compressed %t: %d at %d is taken for %d", compress, count, section, right)
					}
				}
			}
		}
		for n := range wire {
			if dnsmsg.Whole(wire[:n]) {
				t.Errorf("compressed %t: %d of %d bytes are taken for the whole", compress, n, len(wire))
			}
		}
		for _, more := range []string{"\x00", "more", string(make([]byte, 500))} {
			if dnsmsg.Whole(append(slices.Clone(wire), more...)) {
				t.Errorf("compressed %t: with %d bytes more it is taken for the whole", compress, len(more))
			}
		}
	}
	if dnsmsg.Whole(nil) || !dnsmsg.Whole(make([]byte, 12)) {
		t.Error("an empty message is whole, or one without a question is none")
	}
	for _, name := range []string{"\x40a\x00", "\x80a\x00", "\x05a\x00", "\xc0", "a"} {
		if end, ok := dnsmsg.SkipName([]byte(name), 0); ok {
			t.Errorf("the name %q ends at %d", name, end)
		}
	}
}

// FuzzWhole holds that what the library packs is whole, that what is whole has no byte too
// many or too few, and that nothing is read outside of the message.
func FuzzWhole(f *testing.F) {
	f.Add(message(f, true))
	f.Add(message(f, false))
	f.Fuzz(func(t *testing.T, wire []byte) {
		whole := dnsmsg.Whole(wire)
		if whole && (dnsmsg.Whole(wire[:len(wire)-1]) || dnsmsg.Whole(append(slices.Clone(wire), 0))) {
			t.Errorf("%x is whole with a byte more or less", wire)
		}
		var m dns.Msg
		if m.Unpack(wire) != nil {
			return
		}
		if packed, err := m.Pack(); err == nil && !dnsmsg.Whole(packed) {
			t.Errorf("%x is packed by the library and is not whole", packed)
		}
		fits := len(m.Question) == int(binary.BigEndian.Uint16(wire[4:])) && len(m.Answer) == int(binary.BigEndian.Uint16(wire[6:])) &&
			len(m.Ns) == int(binary.BigEndian.Uint16(wire[8:])) && len(m.Extra) == int(binary.BigEndian.Uint16(wire[10:]))
		if whole && !fits {
			t.Errorf("%x is whole, and the library reads %v", wire, &m)
		}
	})
}
