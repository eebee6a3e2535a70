package capacity

// What lookups and the DNS filter may have where the process may open as many files as
// it wants.
const (
	mostLookups  = 1024 // questions at upstreams at the same time; a socket each
	mostDNSConns = 4096 // TCP connections of DNS clients
)

// dnsListeners is how many sockets the DNS filter listens on at most: one for TCP, and
// sixteen for UDP.
const dnsListeners = 17

// LookupLimits are the bounds of what lookups take, cut to what the process may open.
type LookupLimits struct {
	Lookups  int // questions at upstreams at the same time
	DNSConns int // TCP connections of DNS clients; 0: there is no filter
	Files    int // descriptors that are left to all else, for [Fit]; 0 or less: as many as are asked for
}

// FitLookups takes what lookups, and the DNS filter where there is one, may have from so
// many descriptors; 0 or less: as many as there are. Lookups have an eighth, of many a
// forty-eighth, and DNS clients a sixteenth, so that neither can take what the other or a
// tunnel needs. Half as many questions again may be at a second upstream. A request that
// looks up, with two questions at most, does not use the descriptor yet that its tunnel has
// for the origin: without the filter lookups need only half of theirs beside those.
func FitLookups(files int, filter bool) LookupLimits {
	l := LookupLimits{Lookups: mostLookups, Files: files}
	if filter {
		l.DNSConns = mostDNSConns
	}
	if files <= 0 {
		return l
	}
	l.Lookups = min(l.Lookups, max(files/48, min(files/8, 128), 4))
	l.Files -= l.Lookups
	if filter {
		l.Files -= l.Lookups / 2
		l.DNSConns = min(l.DNSConns, max((files+15)/16, 4))
		l.Files -= l.DNSConns + dnsListeners
	}
	l.Files = max(l.Files, 1)
	return l
}

// limits are the bounds, in the order of the line; none where nothing has been shared out.
func (l LookupLimits) limits() []limit {
	if l.Lookups == 0 {
		return nil
	}
	all := []limit{{"lookups", mostLookups, l.Lookups, 0, false}}
	if l.DNSConns > 0 {
		all = append(all, limit{"dns_connections", mostDNSConns, l.DNSConns, 0, false})
	}
	return all
}
