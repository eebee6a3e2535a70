package peers

import (
	"net"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/load"
)

// Servers are what everything under measure reaches. They run in this process,
// whose CPU is not counted, until it ends.
type Servers struct {
	Origins *load.Origins
	dns     string  // answers every name with loopback, where the origins are
	public  netAddr // answers with a public address, which needs no rule that says so
}

// StartServers starts all of them.
func StartServers() (*Servers, error) {
	origins, err := load.StartOrigins()
	if err != nil {
		return nil, err
	}
	local, err := startDNS("127.0.0.1")
	if err != nil {
		return nil, err
	}
	public, err := startDNS("8.8.8.8")
	if err != nil {
		return nil, err
	}
	return &Servers{origins, local.String(), netAddr{local.IP.String(), public.Port}}, nil
}

// startDNS answers every A question with one address and a long TTL, so that
// names are cached while they are measured.
func startDNS(answer string) (*net.UDPAddr, error) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if rr, err := dns.NewRR(q.Question[0].Name + " 86400 IN A " + answer); err == nil && q.Question[0].Qtype == dns.TypeA {
			m.Answer = append(m.Answer, rr)
		}
		_ = w.WriteMsg(m)
	})}
	go func() { _ = server.ActivateAndServe() }()
	return pc.LocalAddr().(*net.UDPAddr), nil
}
