package resolve

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

const (
	// checkFiles is how often, at most, files are looked at for changes.
	checkFiles = 5 * time.Second
	// maxFile is how much of a file is read.
	maxFile = 1 << 20
)

// files is what the hosts file and resolv.conf say, as of the last look at them.
// Lookups do the looking, one of them every few seconds: a proxy that is idle has
// no use for it, and nobody has a goroutine to end.
type files struct {
	cfg  Config
	next atomic.Int64 // when to look again, by Resolver.now
	mu   sync.Mutex   // held while looking

	hostsFile watched
	confFile  watched
	table     atomic.Pointer[map[string]host]
	servers   atomic.Pointer[[]*upstream]
}

// newFiles has read the files when it returns.
func newFiles(cfg Config) *files {
	f := &files{cfg: cfg, hostsFile: watched{path: cfg.Hosts}, confFile: watched{path: cfg.ResolvConf}}
	f.table.Store(&map[string]host{})
	f.setServers(cfg.Upstreams)
	if len(cfg.Upstreams) == 0 {
		f.setServers(localServers())
	}
	f.next.Store(int64(checkFiles))
	f.look()
	return f
}

// localServers are asked where resolv.conf names nobody.
func localServers() []netip.AddrPort {
	return []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53"), netip.MustParseAddrPort("[::1]:53")}
}

// setServers replaces the upstreams. Their health starts anew.
func (f *files) setServers(addrs []netip.AddrPort) {
	servers := make([]*upstream, len(addrs))
	for i, addr := range addrs {
		servers[i] = &upstream{addr: addr}
	}
	f.servers.Store(&servers)
}

// hosts returns the names of the hosts file. Nobody may write to it.
func (f *files) hosts() map[string]host { return *f.table.Load() }

// upstreams returns the servers in their order. There is at least one.
func (f *files) upstreams() []*upstream { return *f.servers.Load() }

// refresh looks at the files if it is time to.
func (f *files) refresh(now time.Duration) {
	next := f.next.Load()
	if int64(now) < next || !f.next.CompareAndSwap(next, int64(now+checkFiles)) {
		return
	}
	f.look()
}

// look reads the files that changed. One that cannot be read keeps what it said
// last; a hosts file that is gone says nothing.
func (f *files) look() {
	f.mu.Lock()
	defer f.mu.Unlock()
	data, changed, err := f.hostsFile.read()
	switch {
	case err != nil:
		f.cfg.Logger.Warn("reading the hosts file", slog.Any("error", err))
	case changed:
		table := parseHosts(data)
		f.table.Store(&table)
	}
	if len(f.cfg.Upstreams) > 0 {
		return
	}
	data, changed, err = f.confFile.read()
	if err != nil {
		f.cfg.Logger.Warn("reading resolv.conf", slog.Any("error", err))
		return
	}
	if changed {
		f.takeServers(data)
	}
}

// takeServers reads the nameserver lines. A line that holds no address is skipped,
// as the C library does; to fail for it would stop what worked yesterday.
func (f *files) takeServers(data []byte) {
	conf, err := dns.ClientConfigFromReader(bytes.NewReader(data))
	if err != nil {
		f.cfg.Logger.Warn("parsing resolv.conf", slog.Any("error", err))
		return
	}
	var addrs []netip.AddrPort
	for _, server := range conf.Servers {
		addr, err := netip.ParseAddr(server)
		if err != nil {
			f.cfg.Logger.Warn("parsing resolv.conf", slog.Any("error", err))
			continue
		}
		addrs = append(addrs, netip.AddrPortFrom(addr, 53))
	}
	if len(addrs) == 0 {
		f.cfg.Logger.Warn("resolv.conf names no server, asking this host")
		addrs = localServers()
	}
	f.setServers(addrs)
}

// watched is a file that is read when it is not what it was.
type watched struct {
	path string
	info fs.FileInfo // of the last read; nil where the file was missing
	seen bool        // whether read has been called
}

// read returns the file's bytes if they may have changed since the last call. A
// missing file is an empty one.
func (w *watched) read() (data []byte, changed bool, err error) {
	info, err := os.Stat(w.path)
	if errors.Is(err, fs.ErrNotExist) {
		changed = w.info != nil || !w.seen
		w.info, w.seen = nil, true
		return nil, changed, nil
	}
	if err != nil {
		return nil, false, err
	}
	if w.info != nil && os.SameFile(info, w.info) &&
		info.ModTime().Equal(w.info.ModTime()) && info.Size() == w.info.Size() {
		return nil, false, nil
	}
	file, err := os.Open(w.path)
	if err != nil {
		return nil, false, err
	}
	defer file.Close()
	if data, err = io.ReadAll(io.LimitReader(file, maxFile)); err != nil {
		return nil, false, err
	}
	w.info, w.seen = info, true
	return data, true, nil
}
