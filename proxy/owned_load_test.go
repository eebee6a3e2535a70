package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// recorder is an origin that remembers whose requests came on each of its connections, and
// which connection of the client they came from where they authenticate it.
type recorder struct {
	mu    sync.Mutex
	conns []map[string]bool // by connection, the functions
	ntlm  []map[string]bool // by connection, the clients' connections that have spoken Negotiate on it
	most  int               // requests of one connection
}

func (r *recorder) serve(c net.Conn) {
	functions, clients := map[string]bool{}, map[string]bool{}
	r.mu.Lock()
	r.conns, r.ntlm = append(r.conns, functions), append(r.ntlm, clients)
	r.mu.Unlock()
	br := bufio.NewReader(c)
	for n := 1; ; n++ {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		r.mu.Lock()
		functions[req.Header.Get("X-Function")] = true
		if req.Header.Get("Authorization") != "" || len(clients) > 0 {
			clients[req.Header.Get("X-Client")] = true
		}
		r.most = max(r.most, n)
		r.mu.Unlock()
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
			return
		}
	}
}

// However many ask at once: a connection to an origin belongs to the function that opened
// it, and one on which Negotiate was spoken to the client's connection that spoke it.
func TestFunctionsUnderLoadNeverShareAConnectionToTheirOrigin(t *testing.T) {
	var seen recorder
	o := newOrigin(t, seen.serve)
	rules := []rule{{host: "allowed.test", ports: []uint16{o.port}, any: true, addresses: loopback}}
	var functions []function
	for _, name := range []string{"billing", "other", "third", "fourth"} {
		functions = append(functions, function{name: name, rules: rules})
	}
	r := &plainRig{origin: o, host: fmt.Sprintf("allowed.test:%d", o.port)}
	r.rig = newRig(t, rigOptions{limits: proxy.Limits{}, functions: functions})
	r.resolves("allowed.test", "127.0.0.1")
	var wg sync.WaitGroup
	for worker := range 16 {
		wg.Go(func() {
			chance := rand.New(rand.NewPCG(uint64(worker), 4559))
			name := functions[worker%len(functions)].name
			for conn := range 10 {
				c, err := net.Dial("tcp", r.addr)
				if err != nil {
					t.Error(err)
					return
				}
				br := bufio.NewReader(c)
				client := fmt.Sprintf("%d-%d", worker, conn)
				for range 1 + chance.IntN(20) {
					fields := "X-Function: " + name + "\r\nX-Client: " + client + "\r\n"
					if chance.IntN(8) == 0 {
						fields += "Authorization: Negotiate AAAA\r\n"
					}
					if _, err := io.WriteString(c, r.by(name, "GET", "/", fields, "")); err != nil {
						t.Error(err)
						break
					}
					resp, err := http.ReadResponse(br, nil)
					if err != nil || resp.StatusCode != http.StatusOK {
						t.Errorf("%s: %v", client, err)
						break
					}
					_, _ = io.Copy(io.Discard, resp.Body)
				}
				_ = c.Close()
			}
		})
	}
	wg.Wait()
	seen.mu.Lock()
	defer seen.mu.Unlock()
	for i := range seen.conns {
		if len(seen.conns[i]) > 1 || len(seen.ntlm[i]) > 1 {
			t.Errorf("a connection has requests of the functions %v, and of the clients %v, one of which has authenticated it", seen.conns[i], seen.ntlm[i])
		}
	}
	if len(seen.conns) < len(functions) || seen.most < 2 {
		t.Errorf("%d connections of at most %d requests: none was used again", len(seen.conns), seen.most)
	}
}
