// Package attempt makes the tries that package probe describes, and says what was seen.
//
// What it does: each try opens what it needs, sends one harmless question of the protocol,
// and compares the answer with what is expected. A try ends with its timeout at the latest.
// What answers is shown to be the target wherever the protocol can show it: by a
// certificate, by the question's own number, by the expected words.
//
// What it does not do: it judges nothing, reads no more than a small head of an answer,
// follows no redirect, and takes no proxy from the environment.
//
//	report := (&attempt.Prober{Proxy: proxy, Timeout: 5 * time.Second}).Probe(ctx, tries, nil)
package attempt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/probe"
)

// atOnce is how many tries are made at a time.
const atOnce = 32

// Prober makes tries.
type Prober struct {
	// Proxy is the gate, http or https, with the credential of the function if it has one.
	Proxy *url.URL
	// Gate is the gate itself, where Proxy is a helper beside the function that adds a credential
	// whatever it is given: NoCredential and OtherCredential are tried there. nil: Proxy is the gate.
	Gate *url.URL
	// Other is a credential that the proxy should not take for the allowed name.
	Other *url.Userinfo
	// Timeout is how long one try may take, more than zero.
	Timeout time.Duration
	// Roots verifies certificates; nil: the system's.
	Roots *x509.CertPool
}

// Probe makes the tries of a plan, of which the first is the control. It stops after a
// control that failed; else it makes the others, some at a time, and the control again.
// The answers of the ways intercepted are the fence's own.
func (p *Prober) Probe(ctx context.Context, tries []probe.Try, intercepted []probe.Way) *probe.Report {
	made := time.Now()
	findings := make([]probe.Finding, len(tries), len(tries)+1)
	untried := probe.Untried(tries)
	if findings[0] = p.one(ctx, &tries[0]); findings[0].Class != probe.Works {
		return probe.Conclude(made, findings[:1], untried, intercepted)
	}
	slots := make(chan struct{}, atOnce)
	var done sync.WaitGroup
	for i := 1; i < len(tries); i++ {
		slots <- struct{}{}
		done.Go(func() {
			findings[i] = p.one(ctx, &tries[i])
			<-slots
		})
	}
	done.Wait()
	return probe.Conclude(made, append(findings, p.one(ctx, &tries[0])), untried, intercepted)
}

// one makes one try.
func (p *Prober) one(ctx context.Context, t *probe.Try) probe.Finding {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	began := time.Now()
	o := p.make(ctx, t)
	o.Elapsed = time.Since(began)
	return probe.Judge(t, &o)
}

// make makes a try by its method.
func (p *Prober) make(ctx context.Context, t *probe.Try) probe.Outcome {
	switch t.Method {
	case probe.MethodConnect:
		return p.connect(ctx, t)
	case probe.MethodTLS:
		return p.overTLS(ctx, t, nil)
	case probe.MethodHTTP:
		return p.http(ctx, t)
	case probe.MethodObject:
		return p.object(ctx, t)
	case probe.MethodDNSUDP, probe.MethodDNSTCP:
		return p.plainDNS(ctx, t)
	case probe.MethodDoT:
		return p.overTLS(ctx, t, askOverStream)
	case probe.MethodDoH:
		return p.overTLS(ctx, t, askOverHTTPS)
	case probe.MethodNTP:
		return p.ntp(ctx, t)
	case probe.MethodEcho:
		return p.echo(ctx, t)
	default:
		return probe.Outcome{Untried: true, Detail: "no method"}
	}
}

// overTLS connects, verifies the certificate, and asks over the connection; question nil:
// the certificate is enough.
func (p *Prober) overTLS(ctx context.Context, t *probe.Try, question func(net.Conn, *probe.Try) error) probe.Outcome {
	conn, o := open(ctx, "tcp", t.Target)
	if conn == nil {
		return o
	}
	defer closed(conn)
	secure, ok := p.handshake(ctx, conn, t.Expect, &o)
	if !ok {
		return o
	}
	o.Answered, o.Match, o.Detail = true, true, "the certificate is that of "+t.Expect
	if question == nil {
		return o
	}
	// The target is there whatever comes of the question: the certificate has shown it.
	if err := question(secure, t); err != nil {
		o.Detail += "; the question failed: " + reason(err)
	}
	return o
}

// handshake makes a handshake of TLS with a name, and says what was seen where it fails.
func (p *Prober) handshake(ctx context.Context, conn net.Conn, name string, o *probe.Outcome) (net.Conn, bool) {
	secure := tls.Client(conn, &tls.Config{ServerName: name, RootCAs: p.Roots, MinVersion: tls.VersionTLS12})
	err := secure.HandshakeContext(ctx)
	if err == nil {
		return secure, true
	}
	o.Detail = "connected, but the handshake failed: " + reason(err)
	var unverified *tls.CertificateVerificationError
	var noTLS tls.RecordHeaderError
	var alert tls.AlertError
	if errors.As(err, &unverified) || errors.As(err, &noTLS) || errors.As(err, &alert) {
		o.Answered = true // with something else
	}
	return nil, false
}

// open opens a connection. Without one it is nil, and the outcome says why.
func open(ctx context.Context, network, address string) (net.Conn, probe.Outcome) {
	conn, err := dial(ctx, network, address)
	if err != nil {
		return nil, probe.Outcome{Detail: reason(err), Untried: exhausted(err)}
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline) // fails on a closed connection alone, as the next call says
	}
	return conn, probe.Outcome{Connected: network == "tcp"}
}

// exhausted reports whether an error is of this machine, which had nothing left to try with:
// no fence is behind that.
func exhausted(err error) bool {
	return slices.ContainsFunc([]error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM}, func(of error) bool { return errors.Is(err, of) })
}

// closed closes a connection that nothing is written to any more.
func closed(conn net.Conn) { _ = conn.Close() }

// reason writes an error in one line, without the addresses that the try has anyway.
func reason(err error) string {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		err = op.Err
	}
	return strings.Join(strings.Fields(fmt.Sprint(err)), " ")
}
