package attestkeys

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/attest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/standin"
)

const account = "111122223333"

// answer is what an issuer answers.
type answer = func(*http.Request) (*http.Response, error)

// server stands for an issuer within a bubble of synctest.
type server struct {
	issuer *standin.Issuer
	asked  atomic.Int64
	answer atomic.Pointer[answer] // nil: the issuer's keys
}

// newServer returns one whose keys are there.
func newServer(t *testing.T) *server {
	t.Helper()
	i, err := standin.New(account, "https://issuer.example")
	if err != nil {
		t.Fatal(err)
	}
	return &server{issuer: i}
}

// do answers one request.
func (s *server) do(r *http.Request) (*http.Response, error) {
	s.asked.Add(1)
	if r.Method != http.MethodGet || r.URL.String() != s.issuer.URL+"/.well-known/jwks.json" {
		return nil, errors.New("what was asked is not the keys: " + r.URL.String())
	}
	if f := s.answer.Load(); f != nil {
		return (*f)(r)
	}
	return respond(http.StatusOK, string(s.issuer.JWKS())), nil
}

// answers has it answer so.
func (s *server) answers(f answer) { s.answer.Store(&f) }

// respond is an answer.
func respond(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body))}
}

// down is an issuer that cannot be reached.
func down(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }

// accounts is what the policy file has.
func (s *server) accounts() []attest.Account {
	return []attest.Account{{ID: account, Issuer: s.issuer.URL}}
}

// running is a store that fetches from the server until the test ends.
func (s *server) running(t *testing.T, o Options) *Store {
	t.Helper()
	o.Do = s.do
	store := New(o)
	store.SetAccounts(s.accounts())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); store.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	synctest.Wait()
	return store
}

func TestKeysAreFetchedAtStartAndEachHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		reg := prometheus.NewRegistry()
		store := s.running(t, Options{Registerer: reg})
		if s.asked.Load() != 1 || store.Keys(s.issuer.URL).Find("RSA_1") == nil || store.Lacking() != "" {
			t.Fatalf("asked %d times, %d keys", s.asked.Load(), store.Keys(s.issuer.URL).Len())
		}
		_ = s.issuer.Rotate()
		s.issuer.Withdraw("RSA_1")
		time.Sleep(time.Hour - time.Second)
		synctest.Wait()
		if s.asked.Load() != 1 || store.Keys(s.issuer.URL).Find("RSA_1") == nil {
			t.Errorf("asked %d times within the hour", s.asked.Load())
		}
		if got := ageOf(t, reg); got != 3599 {
			t.Errorf("the keys are %v s old", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if k := store.Keys(s.issuer.URL); s.asked.Load() != 2 || k.Find("RSA_2") == nil || k.Find("RSA_1") != nil {
			t.Errorf("asked %d times behind the hour", s.asked.Load())
		}
		if got := ageOf(t, reg); got != 1 {
			t.Errorf("the new keys are %v s old", got)
		}
		if store.Keys("https://other.example") != nil {
			t.Error("another issuer has keys")
		}
	})
}

// ageOf returns the metric's one value.
func ageOf(t *testing.T, reg *prometheus.Registry) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "egress_identity_keys_age_seconds" || len(families[0].GetMetric()) != 1 {
		t.Fatalf("%v, %v", families, err)
	}
	m := families[0].GetMetric()[0]
	if m.GetLabel()[0].GetValue() != account {
		t.Errorf("label %v", m.GetLabel())
	}
	return m.GetGauge().GetValue()
}

func TestUnknownKeyIsAskedForOnceInHalfAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		store := s.running(t, Options{})
		if store.Refresh(t.Context(), s.issuer.URL) || s.asked.Load() != 1 {
			t.Error("a request right behind the first one")
		}
		time.Sleep(30 * time.Second)
		_ = s.issuer.Rotate()
		arrived, block := make(chan struct{}), make(chan struct{})
		s.answers(func(*http.Request) (*http.Response, error) {
			close(arrived)
			<-block
			return respond(http.StatusOK, string(s.issuer.JWKS())), nil
		})
		results := make(chan bool)
		for range 100 { // a flood of made-up kids is one request, for which all of them wait
			go func() { results <- store.Refresh(t.Context(), s.issuer.URL) }()
		}
		<-arrived
		time.Sleep(5 * time.Second)
		close(block)
		for range 100 {
			if !<-results {
				t.Fatal("one was not told of the request that was made for it")
			}
		}
		if s.asked.Load() != 2 || store.Keys(s.issuer.URL).Find("RSA_2") == nil {
			t.Errorf("asked %d times", s.asked.Load())
		}
		time.Sleep(24 * time.Second)
		if store.Refresh(t.Context(), s.issuer.URL) {
			t.Error("a request 29 s behind the one before it")
		}
		if store.Refresh(t.Context(), "https://other.example") {
			t.Error("a request of an issuer that is not used")
		}
	})
}

func TestLastGoodKeysHoldForADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		var log bytes.Buffer
		store := s.running(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		s.answers(down)
		time.Sleep(24*time.Hour - time.Second)
		synctest.Wait()
		if store.Keys(s.issuer.URL) == nil {
			t.Error("the keys are gone within the day")
		}
		time.Sleep(time.Second)
		if store.Keys(s.issuer.URL) != nil {
			t.Error("the keys hold for more than a day")
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d lines say that it fails: %s", n, log.String())
		}
		s.answer.Store(nil)
		time.Sleep(apart)
		synctest.Wait()
		if store.Keys(s.issuer.URL) == nil || !strings.Contains(log.String(), "fetched again") {
			t.Errorf("the issuer is back, and its keys are not: %s", log.String())
		}
	})
}

// What an issuer answers that is no set of keys leaves the last good ones in force.
func TestAnswersThatAreNoKeysAreNotTaken(t *testing.T) {
	for why, a := range map[string]answer{
		"down":        down,
		"HTML":        func(*http.Request) (*http.Response, error) { return respond(200, "<!doctype html>"), nil },
		"empty":       func(*http.Request) (*http.Response, error) { return respond(200, ""), nil },
		"no keys":     func(*http.Request) (*http.Response, error) { return respond(200, `{"keys":[]}`), nil },
		"an error":    func(*http.Request) (*http.Response, error) { return respond(500, `{"keys":[]}`), nil },
		"a redirect":  func(*http.Request) (*http.Response, error) { return respond(302, ""), nil },
		"1 MiB and 1": func(*http.Request) (*http.Response, error) { return respond(200, filled(t, 1<<20+1)), nil },
		"without end": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: endless{t, new(int)}}, nil
		},
		"it is silent": func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t)
			store := s.running(t, Options{})
			before := store.Keys(s.issuer.URL)
			s.answers(a)
			time.Sleep(apart)
			if !store.Refresh(t.Context(), s.issuer.URL) {
				t.Errorf("%s: it was not asked", why)
			}
			if s.asked.Load() != 2 || store.Keys(s.issuer.URL) != before {
				t.Errorf("%s: asked %d times, and the keys are others", why, s.asked.Load())
			}
		})
	}
}

// endless is a body that does not end. Who reads much more of it than a set may have fails
// the test.
type endless struct {
	t    *testing.T
	read *int // bytes
}

func (e endless) Read(p []byte) (int, error) {
	if *e.read += len(p); *e.read > 4<<20 {
		e.t.Error("more is read than a set of keys may have")
		return 0, io.EOF
	}
	return copy(p, bytes.Repeat([]byte(" "), len(p))), nil
}

func (endless) Close() error { return nil }

// filled returns a set of other good keys that has so many bytes.
func filled(t *testing.T, n int) string {
	i, err := standin.New(account, "https://issuer.example")
	if err != nil {
		t.Error(err)
	}
	set := string(i.JWKS())
	return set[:1] + strings.Repeat(" ", n-len(set)) + set[1:]
}

// The longest set is taken to its last byte.
func TestSetOfKeysOfAMebibyteIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		store := s.running(t, Options{})
		before := store.Keys(s.issuer.URL)
		s.answers(func(*http.Request) (*http.Response, error) { return respond(200, filled(t, 1<<20)), nil })
		time.Sleep(apart)
		if !store.Refresh(t.Context(), s.issuer.URL) || store.Keys(s.issuer.URL) == before || store.Keys(s.issuer.URL).Len() != 2 {
			t.Errorf("%d keys, want the new ones", store.Keys(s.issuer.URL).Len())
		}
	})
}

func TestStartWaitsForKeysForHalfAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.answers(down)
		store := s.running(t, Options{})
		if store.Lacking() != account || store.Keys(s.issuer.URL) != nil {
			t.Error("the start does not wait")
		}
		time.Sleep(30*time.Second - time.Millisecond)
		if store.Lacking() != account {
			t.Error("the start has not waited for half a minute")
		}
		time.Sleep(time.Millisecond)
		if store.Lacking() != "" {
			t.Error("the start waits for more than half a minute")
		}
		s.answer.Store(nil)
		time.Sleep(apart)
		synctest.Wait()
		if store.Keys(s.issuer.URL) == nil {
			t.Errorf("asked %d times, and the keys are not there though the issuer is", s.asked.Load())
		}
	})
	none := New(Options{})
	if none.SetAccounts(nil); none.Lacking() != "" {
		t.Error("a start without accounts waits")
	}
}

func TestKeysOfAFileAreNotFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		store := s.running(t, Options{})
		keys, _ := attest.ParseKeys(s.issuer.JWKS())
		accounts := s.accounts()
		accounts[0].Keys = keys
		store.SetAccounts(accounts)
		time.Sleep(48 * time.Hour)
		if store.Keys(s.issuer.URL) != keys || store.Refresh(t.Context(), s.issuer.URL) || s.asked.Load() != 1 {
			t.Errorf("asked %d times for what a file has", s.asked.Load())
		}
		_ = s.issuer.Rotate()
		again, _ := attest.ParseKeys(s.issuer.JWKS())
		accounts[0].Keys = again
		store.SetAccounts(accounts)
		if store.Keys(s.issuer.URL) != again {
			t.Error("a new file is not taken")
		}
		store.SetAccounts(nil)
		if store.Keys(s.issuer.URL) != nil {
			t.Error("an account that is gone has keys")
		}
	})
}

// A load that keeps the account keeps its keys, and one that does not ends what is under way.
func TestReloadKeepsTheKeysOfAccountsThatStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		store := s.running(t, Options{})
		store.SetAccounts(s.accounts())
		synctest.Wait()
		if store.Keys(s.issuer.URL) == nil || s.asked.Load() != 1 {
			t.Errorf("asked %d times", s.asked.Load())
		}
		time.Sleep(apart)
		block := make(chan struct{})
		s.answers(func(*http.Request) (*http.Response, error) { <-block; return nil, errors.New("late") })
		told := make(chan bool)
		go func() { told <- store.Refresh(t.Context(), s.issuer.URL) }()
		synctest.Wait()
		store.SetAccounts(nil)
		<-told
		close(block)
		synctest.Wait()
		if store.Keys(s.issuer.URL) != nil {
			t.Error("what came late is taken")
		}
	})
}

// An issuer that answers a byte a second, for ever, is given up after ten: by then another
// one could have been asked.
func TestIssuerThatDripsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newClient()
		var serving sync.WaitGroup
		client.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			serving.Go(func() {
				defer theirs.Close()
				_, _ = http.ReadRequest(bufio.NewReader(theirs))
				_, err := io.WriteString(theirs, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
				for err == nil {
					time.Sleep(time.Second)
					_, err = io.WriteString(theirs, " ")
				}
			})
			return ours, nil
		}
		began := time.Now()
		keys, err := New(Options{Do: client.Do}).get(t.Context(), "http://issuer.example")
		if took := time.Since(began); keys != nil || !errors.Is(err, context.DeadlineExceeded) || took != within {
			t.Errorf("%v and %v after %v, want an end after %v", keys, err, took, within)
		}
		serving.Wait()
	})
}

// The client itself: no redirect, whatever is behind it, and no proxy of the environment.
func TestClientFollowsNoRedirectAndTakesNoProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	i, err := standin.New(account, "")
	if err != nil {
		t.Fatal(err)
	}
	good := httptest.NewServer(i.Handler(standin.Caller{}))
	defer good.Close()
	elsewhere := httptest.NewServer(http.RedirectHandler(good.URL+path, http.StatusFound))
	defer elsewhere.Close()
	store := New(Options{})
	if keys, err := store.get(t.Context(), good.URL); err != nil || keys.Len() != 2 {
		t.Errorf("%d keys, %v", keys.Len(), err)
	}
	if keys, err := store.get(t.Context(), elsewhere.URL); err == nil || !strings.Contains(err.Error(), "302") {
		t.Errorf("%d keys behind a redirect, %v", keys.Len(), err)
	}
	if newClient().Transport.(*http.Transport).Proxy != nil {
		t.Error("the client takes a proxy")
	}
}
