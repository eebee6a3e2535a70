// Package attestkeys has the keys of the issuers whose tokens are trusted, and fetches
// them.
//
// What it does: [Store.Run] fetches the keys of each issuer at start, each hour, and when
// somebody asks for a key that is not there; one request of an issuer is under way at
// most. The last good keys hold for a day. Keys that come with the account, of a file,
// hold until the next [Store.SetAccounts].
//
// What it does not do: it verifies nothing, and follows nothing that a token or an issuer
// says: the URL is the account's issuer with the path that AWS has.
//
//	store := attestkeys.New(attestkeys.Options{Logger: log})
//	store.SetAccounts(trust.Accounts)
//	go store.Run(ctx)
//	keys := store.Keys(issuer)
package attestkeys

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/attest"
)

const (
	// every is how often keys are fetched.
	every = time.Hour
	// apart is the least time from one request of an issuer to the next, whoever asks.
	apart = 30 * time.Second
	// lasts is how long the last good keys hold.
	lasts = 24 * time.Hour
	// within is how long a fetch may take.
	within = 10 * time.Second
	// startTime is how long a start waits for keys.
	startTime = 30 * time.Second
	// path is where an issuer has its keys.
	path = "/.well-known/jwks.json"
)

// Options are what a Store is made of. The zero Options fetch and say nothing.
type Options struct {
	// Do makes a request. Nil: an HTTP client that takes no proxy and follows no redirect.
	Do func(*http.Request) (*http.Response, error)
	// Registerer takes the metrics; nil: they are not registered.
	Registerer prometheus.Registerer
	// Logger is told when fetching begins to fail and when it works again; nil: nobody is.
	Logger *slog.Logger
}

// Store is the keys of issuers. Safe for concurrent use.
type Store struct {
	do  func(*http.Request) (*http.Response, error)
	log *slog.Logger

	mu      sync.RWMutex
	issuers map[string]*issuer
	used    bool      // SetAccounts has been called with an account
	began   time.Time // when the first of them was there; a start waits from then on
	wake    chan struct{}
}

// issuer is one issuer and what is known of its keys.
type issuer struct {
	account   attest.Account
	keys      *attest.Keys
	at        time.Time     // when the keys came; zero: there are none
	requested time.Time     // when the last request was made; zero: none was
	wanted    bool          // somebody waits for another request
	done      chan struct{} // closed when the request ends that is under way or wanted; nil: there is none
	running   bool          // a request is under way
	failing   bool          // the last one has failed
}

// New returns a Store without issuers.
func New(o Options) *Store {
	s := &Store{do: o.Do, log: o.Logger, issuers: map[string]*issuer{}, wake: make(chan struct{}, 1)}
	if s.do == nil {
		s.do = newClient().Do
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if o.Registerer != nil {
		o.Registerer.MustRegister(ages{s})
	}
	return s
}

// SetAccounts has the issuers of these accounts, and forgets all others. Keys that were fetched
// stay where the account and its issuer do.
func (s *Store) SetAccounts(accounts []attest.Account) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(accounts) > 0 && !s.used {
		s.used, s.began = true, now
	}
	next := map[string]*issuer{}
	for _, a := range accounts {
		i := s.issuers[a.Issuer]
		if i == nil || i.account.ID != a.ID || (i.account.Keys == nil) != (a.Keys == nil) {
			i = &issuer{}
		}
		i.account = a
		if a.Keys != nil {
			i.keys, i.at = a.Keys, now
		}
		next[a.Issuer] = i
	}
	for url, i := range s.issuers {
		if next[url] != i {
			i.end() // nobody fetches it any more
		}
	}
	s.issuers = next
	s.stir()
}

// Keys returns the keys of an issuer; nil: there are none, or they are too old. It does
// not allocate.
func (s *Store) Keys(url string) *attest.Keys {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i := s.issuers[url]
	if i == nil || i.keys == nil || i.account.Keys == nil && time.Since(i.at) >= lasts {
		return nil
	}
	return i.keys
}

// Refresh asks for the keys of an issuer, because a token names one that is not there,
// and waits for the request, or for the one that is under way. False: none was made,
// because there was one less than 30 s ago, the keys are of a file, or ctx has ended.
func (s *Store) Refresh(ctx context.Context, url string) bool {
	s.mu.Lock()
	i := s.issuers[url]
	if i == nil || i.account.Keys != nil || i.done == nil && !i.requested.IsZero() && time.Since(i.requested) < apart {
		s.mu.Unlock()
		return false
	}
	if i.done == nil {
		i.wanted, i.done = true, make(chan struct{})
		s.stir()
	}
	done := i.done
	s.mu.Unlock()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// Lacking returns an account whose keys a start has to wait for, "" where there is none:
// all keys are there, or 30 s have passed since SetAccounts was called first.
func (s *Store) Lacking() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.used || time.Since(s.began) >= startTime {
		return ""
	}
	for _, i := range s.issuers {
		if i.keys == nil {
			return i.account.ID
		}
	}
	return ""
}

// Run fetches until ctx ends, and returns when no request is under way any more.
func (s *Store) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
		timer.Reset(s.startDue(ctx, &running))
	}
}

// startDue starts the requests that are due and returns when the next one is.
func (s *Store) startDue(ctx context.Context, running *sync.WaitGroup) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, next := time.Now(), every
	for url, i := range s.issuers {
		if i.account.Keys != nil || i.running {
			continue
		}
		if due := i.due(); due.After(now) {
			next = min(next, due.Sub(now))
			continue
		}
		if i.done == nil {
			i.done = make(chan struct{})
		}
		i.running, i.wanted, i.requested = true, false, now
		running.Go(func() { s.fetch(ctx, url, i) })
	}
	return next
}

// due returns when the next request is: at once where there was none, or one is wanted
// whose time has been looked at.
func (i *issuer) due() time.Time {
	switch {
	case i.wanted, i.requested.IsZero():
		return time.Time{}
	case i.failing:
		return i.requested.Add(apart)
	default:
		return i.requested.Add(every)
	}
}

// end tells who waits for a request that it is over.
func (i *issuer) end() {
	if i.done != nil {
		close(i.done)
	}
	i.done, i.running, i.wanted = nil, false, false
}

// fetch makes one request and takes what it brings, as long as the issuer is still used.
func (s *Store) fetch(ctx context.Context, url string, i *issuer) {
	keys, err := s.get(ctx, url)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.issuers[url] != i {
		return
	}
	was := i.failing
	i.failing = err != nil
	if err == nil {
		i.keys, i.at = keys, time.Now()
	}
	i.end()
	s.stir()
	switch {
	case ctx.Err() != nil: // the program ends
	case i.failing && !was:
		s.log.Warn("the keys of an issuer cannot be fetched; the last good ones hold for a day", "account", i.account.ID, "issuer", url, "error", err)
	case was && !i.failing:
		s.log.Info("the keys of an issuer can be fetched again", "account", i.account.ID, "issuer", url)
	}
}

// get reads the keys of an issuer.
func (s *Store) get(ctx context.Context, url string) (*attest.Keys, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+path, nil)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	response, err := s.do(request)
	if err != nil {
		return nil, fmt.Errorf("fetching the keys: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetching the keys: status %d", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, attest.MaxKeys+1))
	if err != nil {
		return nil, fmt.Errorf("reading the keys: %w", err)
	}
	keys, err := attest.ParseKeys(body)
	if err != nil {
		return nil, fmt.Errorf("reading the keys: %w", err)
	}
	return keys, nil
}

// stir has Run look again. The lock is held, or need not be.
func (s *Store) stir() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// ages is the metric of how old keys are.
type ages struct{ store *Store }

// age is its description.
var age = prometheus.NewDesc("egress_identity_keys_age_seconds",
	"Seconds since the keys of an account's issuer were fetched, or read from their file; an account without keys has none.",
	[]string{"account"}, nil)

// Describe implements prometheus.Collector.
func (ages) Describe(out chan<- *prometheus.Desc) { out <- age }

// Collect implements prometheus.Collector.
func (a ages) Collect(out chan<- prometheus.Metric) {
	a.store.mu.RLock()
	defer a.store.mu.RUnlock()
	for _, i := range a.store.issuers {
		if i.keys != nil {
			out <- prometheus.MustNewConstMetric(age, prometheus.GaugeValue, time.Since(i.at).Seconds(), i.account.ID)
		}
	}
}
