// Package adminhttp answers on the admin listener: health, metrics, and profiles where
// they are asked for.
//
// What it does not do: it listens nowhere, counts nothing, and changes nothing.
//
//	server := adminhttp.New(reg, notReady, false)
//	err := server.Serve(listener)
package adminhttp

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// New returns the server of the admin listener. notReady says why the program is not
// ready, "" when it is.
func New(reg *prometheus.Registry, notReady func() string, profiles bool) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if why := notReady(); why != "" {
			http.Error(w, why, http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.Handle("GET /metrics", scrapes(reg))
	if profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return &http.Server{
		Handler:           sameOrigin(mux),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      2 * time.Minute, // a profile takes half a minute
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
}

// A scrape has all series in memory until its client has read them.
const (
	mostScrapes = 4                // at the same time; further ones get 503
	scrapeTime  = 10 * time.Second // until its client has read it; a client that does not is cut off
)

// scrapes returns what answers scrapes.
func scrapes(reg *prometheus.Registry) http.Handler {
	h := promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg, MaxRequestsInFlight: mostScrapes})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Where it cannot be set the server's own, of two minutes, holds.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(scrapeTime))
		h.ServeHTTP(w, r)
	})
}

// sameOrigin refuses what a browser sends on behalf of another site: nothing
// here is for a page to call.
func sameOrigin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Origin") != "" {
			http.Error(w, "not for other origins", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
