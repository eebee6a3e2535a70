// Package chain follows CNAMEs through replies, from the name of a question to the
// records at their end, and collects what lies on that way and nothing else.
//
// What it does not do: it asks nobody, keeps nothing, and judges no name.
//
//	c := chain.New(question, 8)
//	for {
//		reply := ask(c.At)
//		if done, err := c.Add(reply); done || err != nil {
//			break
//		}
//	}
package chain

import (
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/upstream"
)

// What can be wrong with CNAMEs. All of it fails the question.
var (
	ErrLoop     = errors.New("they go in a circle")
	ErrTooLong  = errors.New("there are too many")
	ErrNoTarget = errors.New("one has no target")
)

// Chain is the answer to one question from one or more replies: the CNAMEs from the
// question's name on and the records at their end, and nothing else of what the replies
// hold. Make one with New.
type Chain struct {
	At    string   // the name whose records are looked for, canonical
	Names []string // the CNAMEs' targets so far

	Rcode     int
	Answer    []dns.RR
	Authority []dns.RR
	TTL       uint32 // the smallest of Answer and Authority; 0 for a denial without SOA

	question upstream.Question
	limit    int
}

// New begins at the name of a question, and follows limit CNAMEs at most.
func New(q upstream.Question, limit int) *Chain {
	return &Chain{question: q, limit: limit, At: q.Name, TTL: ^uint32(0)}
}

// Add adds what reply knows. It reports false where the chain has come to a name
// that reply is silent about, and that must be asked for by itself.
func (c *Chain) Add(reply *dns.Msg) (done bool, err error) {
	before := len(c.Names)
	for {
		if reply.Rcode == dns.RcodeSuccess && c.collect(reply.Answer, c.question.Type) {
			return true, nil
		}
		target, ok := c.cname(reply.Answer)
		if !ok {
			break
		}
		if err := c.moveTo(target); err != nil {
			return false, err
		}
	}
	if c.deny(reply) || reply.Rcode == dns.RcodeNameError {
		c.Rcode = reply.Rcode
		if len(c.Authority) == 0 {
			c.TTL = 0
		}
		return true, nil
	}
	if len(c.Names) == before {
		// An empty answer that nothing vouches for: NODATA, not to be kept.
		c.TTL = 0
		return true, nil
	}
	return false, nil
}

// collect adds the records of rrtype at the chain's end, and with DNSSEC their
// signatures. It reports whether there were any records.
func (c *Chain) collect(records []dns.RR, rrtype uint16) bool {
	found := false
	for _, rr := range records {
		switch {
		case !usable(rr) || hostname.Fold(rr.Header().Name) != c.At:
		case rr.Header().Rrtype == rrtype:
			found = true
			c.store(&c.Answer, rr)
		case c.question.DNSSEC && covers(rr, rrtype):
			c.store(&c.Answer, rr)
		}
	}
	return found
}

// store adds rr to one of c's sections, which ages as fast as its fastest record.
func (c *Chain) store(to *[]dns.RR, rr dns.RR) {
	*to = append(*to, rr)
	c.TTL = min(c.TTL, rr.Header().Ttl)
}

// usable leaves out other classes, and records whose data is missing, which the
// parser lets pass because updates have them (RFC 2136 section 2.4).
func usable(rr dns.RR) bool {
	return rr.Header().Class == dns.ClassINET && rr.Header().Rdlength > 0
}

// covers reports whether rr is a signature over records of rrtype (RFC 4034
// section 3.1.1).
func covers(rr dns.RR, rrtype uint16) bool {
	sig, ok := rr.(*dns.RRSIG)
	return ok && sig.TypeCovered == rrtype
}

// cname finds the first CNAME at the chain's end and adds it.
func (c *Chain) cname(records []dns.RR) (target string, ok bool) {
	if c.question.Type == dns.TypeCNAME {
		return "", false
	}
	for _, rr := range records {
		if alias, is := rr.(*dns.CNAME); is && usable(rr) && hostname.Fold(alias.Hdr.Name) == c.At {
			c.store(&c.Answer, rr)
			c.signature(records)
			return hostname.Fold(alias.Target), true
		}
	}
	return "", false
}

// signature adds the signatures of the CNAME at the chain's end.
func (c *Chain) signature(records []dns.RR) {
	for _, rr := range records {
		if c.question.DNSSEC && usable(rr) && covers(rr, dns.TypeCNAME) && hostname.Fold(rr.Header().Name) == c.At {
			c.store(&c.Answer, rr)
		}
	}
}

// moveTo moves the chain's end to target.
func (c *Chain) moveTo(target string) error {
	switch {
	case target == "":
		return ErrNoTarget
	case target == c.question.Name, slices.Contains(c.Names, target):
		return ErrLoop
	case len(c.Names) == c.limit:
		return fmt.Errorf("%w: more than %d", ErrTooLong, c.limit)
	}
	c.Names = append(c.Names, target)
	c.At = target
	return nil
}

// deny looks for the SOA that vouches for an empty answer: one of a zone that the
// chain's end lies in. It keeps the SOA, and with DNSSEC the proof of denial.
func (c *Chain) deny(reply *dns.Msg) bool {
	for _, rr := range reply.Ns {
		soa, ok := rr.(*dns.SOA)
		if !ok || !usable(rr) || !dns.IsSubDomain(soa.Hdr.Name, dns.Fqdn(c.At)) {
			continue
		}
		c.store(&c.Authority, soa)
		c.TTL = min(c.TTL, soa.Minttl)
		if c.question.DNSSEC {
			c.proof(reply.Ns, soa.Hdr.Name)
		}
		return true
	}
	return false
}

// proof adds the denials of zone and their signatures, which are of use only to
// somebody who validates: we do not.
func (c *Chain) proof(records []dns.RR, zone string) {
	for _, rr := range records {
		if !usable(rr) || !dns.IsSubDomain(zone, rr.Header().Name) {
			continue
		}
		switch rr.(type) {
		case *dns.NSEC, *dns.NSEC3, *dns.RRSIG:
			c.store(&c.Authority, rr)
		}
	}
}
