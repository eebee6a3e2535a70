// Package files reads hosts(5) and the servers of resolv.conf(5), again when they
// change.
//
// What it does not do: it watches nothing by itself. Every few seconds one lookup
// has the files looked at, and goes on without them where that takes long. So there
// is no goroutine to stop.
//
//	f := files.New(files.Config{Hosts: "/etc/hosts", Logger: logger, MaxAddrs: 16})
//	f.Refresh(now)
//	host, ok := f.Host("localhost")
package files

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/localfile"
)

const (
	// CheckEvery is how often, at most, files are looked at for changes, and for how long
	// a hosts file has to be empty or gone until that is believed.
	CheckEvery = 5 * time.Second
	// checkSoon is how often they are looked at while they change: what was seen may be
	// half of it.
	checkSoon = 500 * time.Millisecond
	// maxFile is how much of a file is read.
	maxFile = 1 << 20
	// maxWait is how long a lookup waits for a look at the files, which takes some
	// microseconds unless their file system is in trouble.
	maxWait = 50 * time.Millisecond
)

// Config is what Files are made from.
type Config struct {
	// Hosts is a hosts(5) file. One that is missing names nobody, or where it has been
	// there what it said, for CheckEvery.
	Hosts string
	// MaxAddrs is how many addresses of one family a name has at most; what the
	// file has beyond it is dropped.
	MaxAddrs int
	// ResolvConf is a resolv.conf(5) file; only its nameserver lines count. Where
	// it has never named one, SetServers gets the local host's port 53; where it does
	// not any more, nothing: it is being written, or gone, and the last good ones hold.
	ResolvConf string
	// SetServers gets the servers of ResolvConf, at once and whenever they change.
	// Nil: ResolvConf is not read.
	SetServers func([]netip.AddrPort)
	// Logger hears about files that cannot be read.
	Logger *slog.Logger
}

// Files is what the files say, as of the last look at them. Make it with New; its
// methods may be called from many goroutines.
type Files struct {
	cfg  Config
	next atomic.Int64 // when to look again, by the time that Refresh is given
	mu   sync.Mutex   // held while looking

	changed   time.Duration // when a file was last seen to be another, by the time that Refresh is given
	emptyFrom time.Duration // since when the hosts file is empty; 0: it is not, or never was otherwise
	named     bool          // ResolvConf has named a server

	hostsFile watched
	confFile  watched
	table     atomic.Pointer[map[string]Host]
}

// New has read the files when it returns. The time that Refresh is given begins at
// zero then.
func New(cfg Config) *Files {
	f := &Files{cfg: cfg, hostsFile: watched{path: cfg.Hosts}, confFile: watched{path: cfg.ResolvConf}}
	f.table.Store(&map[string]Host{})
	if cfg.SetServers != nil {
		cfg.SetServers(localServers())
	}
	f.next.Store(int64(CheckEvery))
	f.look(0)
	return f
}

// localServers are asked where resolv.conf names nobody.
func localServers() []netip.AddrPort {
	return []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53"), netip.MustParseAddrPort("[::1]:53")}
}

// Host returns what the hosts file says of a name, which is canonical: lower case,
// no final dot. Its slices must not be written to.
func (f *Files) Host(name string) (h Host, ok bool) {
	h, ok = (*f.table.Load())[name]
	return h, ok
}

// Refresh has the files looked at if it is time to. A look that takes long goes on
// without the caller.
func (f *Files) Refresh(now time.Duration) {
	next := f.next.Load()
	if int64(now) < next || !f.next.CompareAndSwap(next, int64(now+CheckEvery)) {
		return
	}
	looked := make(chan struct{})
	go func() { defer close(looked); f.look(now) }()
	wait := time.NewTimer(maxWait)
	defer wait.Stop()
	select {
	case <-looked:
	case <-wait.C:
	}
}

// look reads the files that changed, and sees to it that files which have changed lately
// are looked at again soon. There is one look at a time.
func (f *Files) look(now time.Duration) {
	if !f.mu.TryLock() {
		return
	}
	defer f.mu.Unlock()
	f.lookAtHosts(now)
	if f.cfg.SetServers != nil {
		f.lookAtServers(now)
	}
	if f.changed > 0 && now-f.changed < CheckEvery {
		f.next.Store(int64(now + checkSoon))
	}
}

// lookAtHosts reads the hosts file. One that cannot be read keeps what it said last; so
// does one that is empty, or gone, until it has been for a while: it may be half-way.
func (f *Files) lookAtHosts(now time.Duration) {
	data, changed, err := f.hostsFile.read()
	if err != nil {
		f.cfg.Logger.Warn("reading the hosts file", slog.Any("error", err))
		return
	}
	if !changed {
		return
	}
	table := parseHosts(data, f.cfg.MaxAddrs)
	if len(table) > 0 || len(*f.table.Load()) == 0 || f.emptyFrom > 0 && now-f.emptyFrom >= CheckEvery {
		f.changed, f.emptyFrom = now, 0
		f.table.Store(&table)
		return
	}
	if f.emptyFrom == 0 {
		f.changed, f.emptyFrom = now, now
	}
	f.hostsFile = watched{path: f.hostsFile.path} // read again, changed or not
}

// lookAtServers reads the nameserver lines of resolv.conf. One that cannot be read, or
// names nobody any more, keeps what it said last.
func (f *Files) lookAtServers(now time.Duration) {
	data, changed, err := f.confFile.read()
	if err != nil {
		f.cfg.Logger.Warn("reading resolv.conf", slog.Any("error", err))
		return
	}
	if !changed {
		return
	}
	f.changed = now
	addrs, err := f.servers(data)
	switch {
	case err != nil:
		f.cfg.Logger.Warn("parsing resolv.conf", slog.Any("error", err))
	case len(addrs) > 0:
		f.named = true
		f.cfg.SetServers(addrs)
	case f.named:
		f.cfg.Logger.Warn("resolv.conf names no server any more, asking those that it named")
	default:
		f.cfg.Logger.Warn("resolv.conf names no server, asking this host")
	}
}

// servers returns the servers of nameserver lines. A line that holds no address is skipped,
// as the C library does; to fail for it would stop what worked yesterday.
func (f *Files) servers(data []byte) (addrs []netip.AddrPort, err error) {
	conf, err := dns.ClientConfigFromReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	for _, server := range conf.Servers {
		addr, err := netip.ParseAddr(server)
		if err != nil {
			f.cfg.Logger.Warn("parsing resolv.conf", slog.Any("error", err))
			continue
		}
		addrs = append(addrs, netip.AddrPortFrom(addr, 53))
	}
	return addrs, nil
}

// watched is a file of which it is known what it was. It is small, and its times need not
// tell that it was written, so it is read at each look.
type watched struct {
	path string
	hash [sha256.Size]byte // of what the last read returned
	seen bool              // whether read has returned anything
}

// read returns the file's bytes, and whether they are others than those of the last call.
// A missing file is an empty one.
func (w *watched) read() (data []byte, changed bool, err error) {
	data, err = localfile.Read(w.path, maxFile, localfile.Timeout)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, err
	}
	data = data[:min(len(data), maxFile)]
	hash := sha256.Sum256(data)
	changed = !w.seen || hash != w.hash
	w.hash, w.seen = hash, true
	return data, changed, nil
}
