package resolve

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/files"
)

const hostsText = `
127.0.0.1	localhost
::1		localhost ip6-localhost  # the same
192.0.2.7	Legacy.Corp.Example. legacy	# a comment 10.0.0.1 no.example
192.0.2.8	legacy
192.0.2.8	legacy
fe80::1%eth0	zoned.example
not-an-address	bad.example
192.0.2.9
#192.0.2.9 commented.example
`

func write(t *testing.T, path, text string, at time.Time) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func TestHostsFileGoesBeforeUpstreams(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	write(t, path, hostsText, time.Unix(1, 0))
	for _, tt := range []struct {
		name     string
		families Families
		want     []string
	}{
		{"localhost", Both, []string{"127.0.0.1", "::1"}},
		{"localhost", IP4, []string{"127.0.0.1"}},
		{"localhost", IP6, []string{"::1"}},
		{"ip6-localhost", Both, []string{"::1"}},
		{"ip6-localhost", IP4, nil},
		{"legacy.corp.example", Both, []string{"192.0.2.7"}},
		{"legacy.corp.example", IP6, nil},
		{"legacy", Auto, []string{"192.0.2.7", "192.0.2.8"}},
	} {
		r, s := newScripted(t, Config{Hosts: path, Families: tt.families}, nil)
		if tt.want == nil {
			mustFail(t, r, tt.name, ErrNotFound)
		} else {
			mustLookup(t, r, tt.name, tt.want...)
		}
		mustAsk(t, s, 0)
	}
}

func TestWhatHostsFileDoesNotSayIsAskedUpstream(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	write(t, path, hostsText, time.Unix(1, 0))
	for _, name := range []string{"zoned.example", "bad.example", "commented.example", "no.example", "192.0.2.9"} {
		r, s := newScripted(t, Config{Hosts: path}, nil)
		mustFail(t, r, name, ErrNotFound)
		mustAsk(t, s, 1)
	}
}

func TestExchangeAnswersAddressesFromTheHostsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	write(t, path, hostsText, time.Unix(1, 0))
	r, s := newScripted(t, Config{Hosts: path}, nil)
	for _, tt := range []struct {
		name  string
		qtype uint16
		want  string
		asked int
	}{
		{"LOCALHOST.", dns.TypeA, "localhost. 5 IN A 127.0.0.1", 0},
		{"localhost.", dns.TypeAAAA, "localhost. 5 IN AAAA ::1", 0},
		{"legacy.", dns.TypeAAAA, "", 0},
		{"legacy.", dns.TypeMX, "", 1},
	} {
		got, err := r.Exchange(t.Context(), dns.Question{Name: tt.name, Qtype: tt.qtype, Qclass: 1}, false)
		if err != nil || got.Rcode != dns.RcodeSuccess || joined(got.Answer) != joined(zone(tt.want)) {
			t.Errorf("%s %s: %v, %v; want %q", tt.name, dns.TypeToString[tt.qtype], got.Answer, err, tt.want)
		}
		mustAsk(t, s, tt.asked)
	}
}

func joined(records []dns.RR) string {
	var text strings.Builder
	for _, rr := range records {
		text.WriteString(rr.String() + "\n")
	}
	return text.String()
}

func TestHostsFileIsReadAgainWhenItChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	synctest.Test(t, func(t *testing.T) {
		r, _ := newScripted(t, Config{Hosts: path}, nil) // no such file yet
		step := func(want ...string) {
			t.Helper()
			time.Sleep(files.CheckEvery)
			if want == nil {
				mustFail(t, r, "x.example", ErrNotFound)
			} else {
				mustLookup(t, r, "x.example", want...)
			}
		}
		step()
		write(t, path, "192.0.2.1 x.example", time.Unix(1, 0))
		step("192.0.2.1")
		write(t, path, "192.0.2.2 x.example", time.Unix(2, 0))
		mustLookup(t, r, "x.example", "192.0.2.1") // not looked at for each lookup
		step("192.0.2.2")

		// A file renamed into place may have the old one's time and size.
		write(t, path+".new", "192.0.2.3 x.example", time.Unix(2, 0))
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		step("192.0.2.3")
		write(t, path, "192.0.2.4 x.example", time.Unix(2, 0)) // and so may one that is written in place
		step("192.0.2.4")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		step("192.0.2.4") // it may be on its way
		step()
	})
}

func TestFileThatCannotBeReadKeepsWhatItSaid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	write(t, path, "192.0.2.1 x.example", time.Unix(1, 0))
	synctest.Test(t, func(t *testing.T) {
		r, _ := newScripted(t, Config{Hosts: path}, nil)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(path, 0o700); err != nil { // opens, and does not read
			t.Fatal(err)
		}
		time.Sleep(files.CheckEvery)
		mustLookup(t, r, "x.example", "192.0.2.1")
	})
}

func TestUpstreamsAreThoseOfResolvConf(t *testing.T) {
	local := []string{"127.0.0.1:53", "[::1]:53"}
	path := filepath.Join(t.TempDir(), "resolv.conf")
	synctest.Test(t, func(t *testing.T) {
		r, err := New(Config{ResolvConf: path, Hosts: path + ".hosts"})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for i, tt := range []struct {
			name, text string
			want       []string
		}{
			{name: "a missing file: this host, as resolv.conf(5) says", want: local},
			{"servers in order, search domains ignored",
				"search corp.example\nnameserver 10.0.0.2\n# nameserver 10.0.0.9\nnameserver 2001:db8::53\noptions ndots:5",
				[]string{"10.0.0.2:53", "[2001:db8::53]:53"}},
			{"a changed file", "nameserver 10.0.0.3", []string{"10.0.0.3:53"}},
			{"a server that is no address", "nameserver dns.example\nnameserver 10.0.0.4", []string{"10.0.0.4:53"}},
			{"a server of a zone of its own", "nameserver fe80::1%lo", []string{"[fe80::1%lo]:53"}},
			{"no server any more", "search corp.example", []string{"[fe80::1%lo]:53"}},
			{"nothing any more", "\n", []string{"[fe80::1%lo]:53"}},
			{"servers again", "nameserver 10.0.0.5", []string{"10.0.0.5:53"}},
		} {
			if tt.text != "" {
				write(t, path, tt.text, time.Unix(int64(i), 0))
			}
			time.Sleep(files.CheckEvery)
			r.files.Refresh(r.now())
			var got []string
			for _, addr := range r.upstreams.Servers() {
				got = append(got, addr.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s: %s", tt.name, diff)
			}
		}
	})
}

// A file that is rewritten in place is empty for a moment, and then has a part of its lines.
// What it says when it is whole again is seen at once, not at the next look but one.
func TestFileThatIsHalfWayKeepsTheLastGood(t *testing.T) {
	hosts, conf := filepath.Join(t.TempDir(), "hosts"), filepath.Join(t.TempDir(), "resolv.conf")
	write(t, hosts, "192.0.2.1 x.example", time.Unix(1, 0))
	write(t, conf, "nameserver 10.0.0.2\nnameserver 10.0.0.3\n", time.Unix(1, 0))
	synctest.Test(t, func(t *testing.T) {
		r, err := New(Config{ResolvConf: conf, Hosts: hosts})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		expect := func(what, address string, servers ...string) {
			t.Helper()
			r.files.Refresh(r.now())
			var got []string
			for _, s := range r.upstreams.Servers() {
				got = append(got, strings.TrimSuffix(s.String(), ":53"))
			}
			if !slices.Equal(got, servers) {
				t.Errorf("%s: the servers are %v, want %v", what, got, servers)
			}
			mustLookup(t, r, "x.example", address)
		}
		time.Sleep(files.CheckEvery)
		write(t, hosts, "", time.Unix(2, 0))
		write(t, conf, "", time.Unix(2, 0))
		expect("empty", "192.0.2.1", "10.0.0.2", "10.0.0.3")
		write(t, hosts, "192.0.2", time.Unix(3, 0))
		write(t, conf, "nameserver 10.0", time.Unix(3, 0))
		time.Sleep(500 * time.Millisecond)
		expect("cut", "192.0.2.1", "10.0.0.2", "10.0.0.3")
		if err := errors.Join(os.Remove(hosts), os.Remove(conf)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
		expect("gone", "192.0.2.1", "10.0.0.2", "10.0.0.3")
		write(t, hosts, "192.0.2.9 x.example", time.Unix(4, 0))
		write(t, conf, "nameserver 10.0.0.4\n", time.Unix(4, 0))
		time.Sleep(500 * time.Millisecond)
		expect("whole again, in part", "192.0.2.9", "10.0.0.4")
		write(t, conf, "nameserver 10.0.0.4\nnameserver 10.0.0.5\n", time.Unix(5, 0))
		time.Sleep(500 * time.Millisecond)
		expect("whole again", "192.0.2.9", "10.0.0.4", "10.0.0.5")
	})
}

func TestUpstreamsOfTheConfigurationSilenceResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	write(t, path, "nameserver 10.0.0.2", time.Unix(1, 0))
	want := netip.MustParseAddrPort("127.0.0.7:5353")
	r, _ := newScripted(t, Config{ResolvConf: path, Upstreams: []netip.AddrPort{want}}, nil)
	if got := r.upstreams.Servers(); len(got) != 1 || got[0] != want {
		t.Errorf("%v, want %v alone", got, want)
	}
}

// A FIFO that nobody writes to would hold up whoever opens it, and whoever waits for
// that.
func TestNoLookupWaitsForAFileThatIsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	write(t, path, "192.0.2.1 x.example", time.Unix(1, 0))
	write(t, conf, "nameserver 10.0.0.2", time.Unix(1, 0))
	r, err := New(Config{Hosts: path, ResolvConf: conf})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, file := range []string{path, conf} {
		if err := errors.Join(os.Remove(file), syscall.Mkfifo(file, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	now := r.now() + 2*files.CheckEvery
	for range 3 {
		r.files.Refresh(now)
		mustLookup(t, r, "x.example", "192.0.2.1")
		now += 2 * files.CheckEvery
	}
	if got := r.upstreams.Servers(); len(got) != 1 || got[0].String() != "10.0.0.2:53" {
		t.Errorf("the upstreams are %v", got)
	}
}
