package awslocal

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Runtime is a stand-in for Lambda's API within an environment, as far as an external
// extension speaks to it.
type Runtime struct {
	// Address is where it listens, for AWS_LAMBDA_RUNTIME_API.
	Address string

	// OnRegister is called before a registration is answered; nil: nothing is. Set it
	// before an extension starts.
	OnRegister func()

	mu         sync.Mutex
	registered []string // name and body of each registration
	pending    int      // how often an event was waited for
	shutdown   chan struct{}
	server     *httptest.Server
}

// NewRuntime starts one. It ends with the test, or with Close.
func NewRuntime(t testing.TB) *Runtime {
	r := &Runtime{shutdown: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /2020-01-01/extension/register", r.register)
	mux.HandleFunc("GET /2020-01-01/extension/event/next", r.next)
	r.server = httptest.NewServer(mux)
	t.Cleanup(r.Close)
	r.Address = strings.TrimPrefix(r.server.URL, "http://")
	return r
}

// Close ends it, and every wait for an event.
func (r *Runtime) Close() {
	r.server.CloseClientConnections()
	r.server.Close()
}

// Shutdown answers each wait for an event by SHUTDOWN. Call it once.
func (r *Runtime) Shutdown() { close(r.shutdown) }

// Registered returns name and body of each registration.
func (r *Runtime) Registered() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.registered...)
}

// Pending returns how often an event was waited for.
func (r *Runtime) Pending() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pending
}

// register answers a registration.
func (r *Runtime) register(w http.ResponseWriter, q *http.Request) {
	if r.OnRegister != nil {
		r.OnRegister()
	}
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return
	}
	r.mu.Lock()
	r.registered = append(r.registered, q.Header.Get("Lambda-Extension-Name")+" "+string(body))
	r.mu.Unlock()
	w.Header().Set("Lambda-Extension-Identifier", "8a6f5e2c")
	fmt.Fprint(w, `{"functionName":"f","functionVersion":"$LATEST","handler":"index.handler"}`)
}

// next answers a wait for an event.
func (r *Runtime) next(w http.ResponseWriter, q *http.Request) {
	if q.Header.Get("Lambda-Extension-Identifier") != "8a6f5e2c" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	r.mu.Lock()
	r.pending++
	r.mu.Unlock()
	select {
	case <-r.shutdown:
		fmt.Fprint(w, `{"eventType":"SHUTDOWN","shutdownReason":"spindown","deadlineMs":1}`)
	case <-q.Context().Done():
	}
}
