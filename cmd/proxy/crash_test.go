package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
)

// crashPolicy refuses evil.test for one of two reasons, in records of its own
// or, with a small budget, in shared ones.
func crashPolicy(deny string, budget int) string {
	return `version: 1
listen: {proxy: "127.0.0.1:0", admin: "127.0.0.1:0"}
dns: {upstreams: ["${dns}"], families: ip4}
audit: {output: records.json}
deny: [` + deny + `]
limits: {refusal_records: ` + fmt.Sprint(budget) + `}
functions: {billing: {identify: {${token_billing}}, allow: []}}
`
}

// cut is what a kill left of a boot, by the bytes of the file alone.
type cut struct {
	boot  string
	after uint64 // seq of its last whole record
	torn  bool   // part of a record is behind it
}

// crashes is a program that is killed and started again on the same file.
type crashes struct {
	*seen
	w    *world
	dir  string
	file string
	cuts []cut
}

// cutOf looks at the end of the file that a kill left. torn makes it a line
// that was cut, as a write that the kernel had not finished leaves it: those
// bytes belong to a record that nobody was told of.
func (c *crashes) cutOf(tear bool) cut {
	c.w.t.Helper()
	b, err := os.ReadFile(c.file)
	c.w.must(err)
	end := bytes.LastIndexByte(b, '\n') + 1
	if end == 0 {
		c.w.t.Fatal("the program served, and its file has no record")
	}
	line := b[bytes.LastIndexByte(b[:end-1], '\n')+1 : end]
	var last record
	c.w.must(json.Unmarshal(line, &last))
	if end == len(b) && tear {
		next := fmt.Sprintf(`{"time":"2026-11-22T00:00:00.000000000Z","event":"refused","boot":"%s","seq":%d,"prev":"%s"`, last.Boot, last.Seq+1, sum(line))
		f, err := os.OpenFile(c.file, os.O_WRONLY|os.O_APPEND, 0)
		c.w.must(err)
		_, err = f.WriteString(next[:1+rand.IntN(len(next)-1)])
		c.w.must(err)
		c.w.must(f.Close())
		return cut{last.Boot, last.Seq, true}
	}
	return cut{last.Boot, last.Seq, end < len(b)}
}

// round starts the program, lets clients be refused, and kills it after the
// time, in the middle of whatever it does then. With seen one has been refused
// by then.
func (c *crashes) round(policy string, clients int, life time.Duration, reload string, seen, tear bool) {
	c.w.t.Helper()
	config := filepath.Join(c.dir, "egress.yaml")
	c.w.write(config, policy)
	p := c.w.startFile(c.dir, []string{"run", "--config", config})
	p.recordFiles = []string{c.file}
	p.finished = true // nothing of what finish checks holds of a process that was killed
	told := newSeen()
	var asking sync.WaitGroup
	var dead atomic.Bool
	for range clients {
		asking.Go(func() {
			for !dead.Load() {
				r, err := p.tryConnect("billing", "evil.test:443")
				told.add(r, "billing", "connect")
				if err != nil && r.Response == nil && !dead.Load() {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	if reload != "" {
		c.w.write(config, reload)
		p.signal(syscall.SIGHUP)
	}
	if seen {
		c.w.eventually("a client is refused", func() bool { return told.count() > 0 })
	}
	time.Sleep(life) // when it dies is chance, and may be anything
	p.signal(syscall.SIGKILL)
	<-p.exited
	dead.Store(true)
	asking.Wait()
	left := c.cutOf(tear)
	c.cuts = append(c.cuts, left)
	for id, reason := range told.reasons {
		// The port of a program that was killed can be another's at once.
		if strings.HasPrefix(id, left.boot+"-") {
			c.reasons[id] = reason
		}
	}
}

func TestRefusalThatAClientSawSurvivesAKillAndTheVerifierSaysWhatWasCut(t *testing.T) {
	t.Parallel()
	kills := 100
	if testing.Short() || raceDetector {
		kills = 12
	}
	w := newWorld(t)
	c := &crashes{seen: newSeen(), w: w, dir: t.TempDir()}
	c.file = filepath.Join(c.dir, "records.json")
	for i := range kills {
		policy, reload := crashPolicy("", 1_000_000), ""
		life := time.Duration(rand.Int64N(int64(60 * time.Millisecond)))
		switch i % 10 {
		case 1, 4, 7: // in the middle of a reload
			reload = crashPolicy("evil.test", 1_000_000)
		case 9: // in the middle of a flood, some of whose records are out
			policy = crashPolicy("", 5)
			life += 990 * time.Millisecond
		}
		c.round(policy, 8, life, reload, i%2 == 1, i%4 == 0)
	}
	all, parts := recordsOf(t, c.file)
	if ids := c.missing(all); len(ids) > 0 {
		t.Errorf("%d refusals that a client saw are no record: %.300q", len(ids), ids)
	}
	if len(c.reasons) < kills/2 {
		t.Errorf("clients saw %d refusals in %d runs", len(c.reasons), kills)
	}
	c.verifierAgrees(parts)
	t.Logf("%d kills: records of refusals seen: %d, records: %d, torn lines: %d", kills, len(c.reasons), len(all), parts)
}

// recordsOf returns the whole records of a file, and how many lines are a part
// of one.
func recordsOf(t *testing.T, path string) (all []record, parts int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		var r record
		if json.Unmarshal(line, &r) != nil {
			parts++
			continue
		}
		all = append(all, r)
	}
	return all, parts
}

// verifierAgrees checks that the verifier says of each boot what the bytes of
// the file said when it had just been killed, and nothing else.
func (c *crashes) verifierAgrees(parts int) {
	c.w.t.Helper()
	r := c.w.verified(c.file)
	if !r.Whole || len(r.Findings) != 0 || len(r.Processes) != len(c.cuts) {
		c.w.t.Fatalf("whole: %v, %d boots of %d, findings %+v", r.Whole, len(r.Processes), len(c.cuts), r.Findings)
	}
	said := map[string]evidence.Process{}
	torn := 0
	for _, b := range r.Processes {
		said[b.Name] = b
	}
	for i, want := range c.cuts {
		b := said[want.boot]
		lines := uint64(0)
		if want.torn {
			lines = 1
			torn++
		}
		if b.First != 1 || b.Last != want.after || b.Records != want.after || len(b.Findings) != 0 ||
			b.Tail == nil || b.Tail.After != want.after || b.Tail.Partial != lines {
			c.w.t.Errorf("kill %d left %+v, the verifier says %+v with tail %+v", i, want, b, b.Tail)
		}
	}
	if torn != parts {
		c.w.t.Errorf("%d torn lines are in the file, want %d", parts, torn)
	}
}

// restartPolicy listens at the same port each time.
const restartPolicy = `version: 1
listen: {proxy: "${listen}", admin: "127.0.0.1:0"}
dns: {upstreams: ["${dns}"], families: ip4}
audit: {output: records.json}
limits: {drain: 1s, header_timeout: 10m, hello_timeout: 10m}
functions:
  billing:
    identify: {${token_billing}}
    allow:
      - {host: allowed.test, ports: [${port}], addresses: [127.0.0.0/8]}
      - {host: before.test, ports: [${echo}], tls: any, addresses: [127.0.0.0/8]}
`

func TestPeersInTheMiddleOfAHandshakeAreClosedCleanlyByARestart(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]syscall.Signal{"by SIGTERM": syscall.SIGTERM, "by SIGKILL": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newEchoWorld(t)
			w.vars["listen"] = fmt.Sprintf("%s:%d", ownAddress(t, 3), 3000+stop)
			dir := t.TempDir()
			config := filepath.Join(dir, "egress.yaml")
			w.write(config, restartPolicy)
			p := w.startFile(dir, []string{"run", "--config", config})
			p.recordFiles = []string{filepath.Join(dir, "records.json")}
			p.finished = true
			peers := p.peersMidway()
			w.eventually("all that was sent has been read", func() bool { return unread(t, p.proxy) == 0 })
			p.signal(stop)
			p.wait()
			for what, c := range peers {
				// The kernel holds back who has said nothing, so the program never
				// had that one: it learns of the end when it speaks.
				silent := what == nothingSent
				if silent {
					_, _ = io.WriteString(c, "C")
				}
				_ = c.SetReadDeadline(time.Now().Add(patience))
				b, err := io.ReadAll(c)
				if isTimeout(err) || stop == syscall.SIGTERM && !silent && err != nil || len(b) > 0 {
					t.Errorf("%s: got %q, %v; want the end of the connection", what, b, err)
				}
			}

			next := w.startFile(dir, []string{"run", "--config", config})
			next.finished = true
			r := next.connect("billing", "before.test:"+w.vars["echo"])
			r.carries(t)
			_ = r.conn.Close()
			next.signal(syscall.SIGTERM)
			if code := next.wait(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if v := w.verified(p.recordFiles...); !v.Whole || len(v.Processes) != 2 || v.Processes[0].Tail != nil != (stop == syscall.SIGKILL) {
				t.Errorf("the records of both runs: %+v", v)
			}
		})
	}
}

// nothingSent is the peer that has only connected.
const nothingSent = "nothing sent"

// peersMidway returns connections that have come to different points of the
// way to a tunnel.
func (p *running) peersMidway() map[string]net.Conn {
	p.t.Helper()
	peers := map[string]net.Conn{}
	request := p.world.fill("CONNECT allowed.test:${port} HTTP/1.1\r\n" + authorization("billing"))
	for what, text := range map[string]string{nothingSent: "", "half a request line": request[:10], "half a head": request} {
		c, err := net.Dial("tcp", p.proxy)
		p.world.must(err)
		_, err = io.WriteString(c, text)
		p.world.must(err)
		peers[what] = c
	}
	opened := p.connect("billing", "allowed.test:"+p.world.vars["port"])
	peers["no ClientHello yet"] = opened.conn
	half := p.connect("billing", "allowed.test:"+p.world.vars["port"])
	_, err := half.conn.Write([]byte{22, 3, 1, 2, 0, 1, 0, 1, 0xfc}) // the beginning of a ClientHello
	p.world.must(err)
	peers["half a ClientHello"] = half.conn
	for _, c := range peers {
		p.t.Cleanup(func() { _ = c.Close() })
	}
	return peers
}

// unread returns how many bytes the kernel has for the connections of a listener
// of IPv4 that the program has not read. What is closed with some left is reset.
func unread(t *testing.T, listener string) (n uint64) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("what the kernel has for a socket is read from /proc")
	}
	at := netip.MustParseAddrPort(listener)
	b := at.Addr().As4()
	local := fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(b[:]), at.Port())
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	const established = "01"
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 5 || f[1] != local || f[3] != established {
			continue
		}
		_, queue, _ := strings.Cut(f[4], ":")
		left, err := strconv.ParseUint(queue, 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		n += left
	}
	return n
}
