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
	// CheckEvery is how often, at most, files are looked at for changes.
	CheckEvery = 5 * time.Second
	// maxFile is how much of a file is read.
	maxFile = 1 << 20
	// maxWait is how long a lookup waits for a look at the files, which takes some
	// microseconds unless their file system is in trouble.
	maxWait = 50 * time.Millisecond
)

// Config is what Files are made from.
type Config struct {
	// Hosts is a hosts(5) file. One that is missing names nobody.
	Hosts string
	// MaxAddrs is how many addresses of one family a name has at most; what the
	// file has beyond it is dropped.
	MaxAddrs int
	// ResolvConf is a resolv.conf(5) file; only its nameserver lines count. Where
	// it names none, SetServers gets the local host's port 53.
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
	f.look()
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
	go func() { defer close(looked); f.look() }()
	wait := time.NewTimer(maxWait)
	defer wait.Stop()
	select {
	case <-looked:
	case <-wait.C:
	}
}

// look reads the files that changed. One that cannot be read keeps what it said
// last; a hosts file that is gone says nothing. There is one look at a time.
func (f *Files) look() {
	if !f.mu.TryLock() {
		return
	}
	defer f.mu.Unlock()
	data, changed, err := f.hostsFile.read()
	switch {
	case err != nil:
		f.cfg.Logger.Warn("reading the hosts file", slog.Any("error", err))
	case changed:
		table := parseHosts(data, f.cfg.MaxAddrs)
		f.table.Store(&table)
	}
	if f.cfg.SetServers == nil {
		return
	}
	data, changed, err = f.confFile.read()
	if err != nil {
		f.cfg.Logger.Warn("reading resolv.conf", slog.Any("error", err))
		return
	}
	if changed {
		f.readServers(data)
	}
}

// readServers reads the nameserver lines. A line that holds no address is skipped,
// as the C library does; to fail for it would stop what worked yesterday.
func (f *Files) readServers(data []byte) {
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
	f.cfg.SetServers(addrs)
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
