package files

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestOneNameOfTheHostsFileHoldsSixteenAddressesAtMost(t *testing.T) {
	var text strings.Builder
	for i := range 100 {
		text.WriteString(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String() + " x.example\n")
	}
	if got := parseHosts([]byte(text.String()), 16)["x.example"].Both; len(got) != 16 {
		t.Errorf("%d addresses, want 16", len(got))
	}
}

// What a look has to wait for, a lookup does not: it goes on by what it knows, and so
// do those after it while the look still waits.
func TestNobodyWaitsForALookThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hangs, calls := make(chan struct{}), 0
		f := New(Config{
			Hosts: filepath.Join(t.TempDir(), "hosts"), ResolvConf: filepath.Join(t.TempDir(), "resolv.conf"),
			Logger: slog.New(slog.DiscardHandler),
			SetServers: func([]netip.AddrPort) {
				if calls++; calls > 1 { // that of New
					<-hangs
				}
			},
		})
		if err := os.WriteFile(f.confFile.path, []byte("nameserver 10.0.0.2"), 0o600); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		f.Refresh(CheckEvery)
		synctest.Wait()
		if took := time.Since(began); calls != 2 || took > maxWait {
			t.Errorf("it took %v, with %d calls", took, calls)
		}
		f.Refresh(2 * CheckEvery)
		synctest.Wait()
		if took := time.Since(began); calls != 2 || took > maxWait {
			t.Errorf("the next one took %v, with %d calls", took, calls)
		}
		close(hangs)
	})
}
