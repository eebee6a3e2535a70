package settings

import (
	"net/netip"
	"time"
)

// DNS is the part of the DNS filter and of the resolver.
type DNS struct {
	Upstreams   []netip.AddrPort // empty: those of /etc/resolv.conf
	RefuseWith  Refusal          // default NXDomain
	Families    Families         // default FamiliesAuto
	Clients     []netip.Prefix   // who may ask the filter; empty: nobody
	AnswerUnion bool             // unknown sources get the names of all functions (default); false: nothing
	RecordAll   bool             // record answers too; false (default): refusals alone
	Types       []uint16         // record types that are answered; default A, AAAA, HTTPS, SVCB, CNAME, PTR
	StaleFor    time.Duration    // how long an expired answer serves where no upstream answers; default 15m, 0: never
	MaxAliases  int              // how many aliases (CNAMEs) of a name are followed; default 16
	// DistinctNamesPerMinute bounds the names below one wildcard that a client
	// may ask for; default 1,000.
	DistinctNamesPerMinute int
}

// Refusal is how the DNS filter refuses.
type Refusal uint8

// The ways to refuse, in the order of the words of the file.
const (
	NXDomain Refusal = iota // the name does not exist
	Refused                 // the server refuses
	NoData                  // the name has no such record
)

// Families says which address families names are resolved to.
type Families uint8

// The families, in the order of the words of the file.
const (
	FamiliesAuto Families = iota // IPv6 where the machine has a global IPv6 address
	FamiliesIP4
	FamiliesIP6
	FamiliesBoth
)

// Limits bound what callers can take. Every one is above zero.
type Limits struct {
	Tunnels            int           // open at once; default 20,000
	TunnelsPerFunction int           // open at once for one function; default 5,000, or Tunnels if that is less
	Unidentified       int           // connections that have not shown who they are; default 4,096
	HeaderTimeout      time.Duration // for the whole request header; default 10s
	HeaderBytes        int           // default 16 KiB
	DialTimeout        time.Duration // for all addresses of a host; default 5s
	HelloTimeout       time.Duration // for the whole ClientHello; default 5s
	IdleTimeout        time.Duration // no byte either way; default 330s
	Lifetime           time.Duration // of a tunnel; default 12h
	Drain              time.Duration // from SIGTERM until tunnels are cut; default 110s
	// RefusalRecords is how many refusals of one function, or of one source that
	// is no function's, get a record of their own in a minute; default 6,000.
	RefusalRecords int

	// Whether the file itself has these. The program cuts them
	// to the descriptors of the process, and warns where it was asked for more.
	HasTunnels, HasTunnelsPerFunction, HasUnidentified bool
}

// Audit says where records go.
type Audit struct {
	Output    string // path of a file; "": standard output (default)
	CountLoss bool   // let through and count what cannot be recorded; false (default): refuse it
}
