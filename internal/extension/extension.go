// Package extension is the Lambda extension: what a function's clients use as a proxy
// on loopback without a secret, and what adds the token that AWS gives the function.
//
// What it does: it listens, then registers with Lambda, and serves until Lambda says
// SHUTDOWN. Whatever is wrong is told to clients, in a status line, and to the log: an
// extension that exits would end the function with it.
//
// What it does not do: it dials no target, and decides nothing; the proxy does.
//
//	err := extension.Run(ctx, extension.Options{Getenv: os.Getenv, Stderr: os.Stderr, Name: "egress"})
package extension

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/extension/dial"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/extension/lambdaapi"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/extension/relay"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/extension/stsclient"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/extension/token"
)

// retryInterval is how often that is tried again which has failed: to listen, and to
// speak to Lambda.
const retryInterval = time.Second

// Options says where the extension runs.
type Options struct {
	Getenv func(string) string // the function's variables; required
	Stderr io.Writer           // gets the log, a JSON object a line; required
	Name   string              // of the executable's file; required
}

// Run serves until Lambda says SHUTDOWN, or the context ends. Nothing else ends it. Where
// AWS_LAMBDA_RUNTIME_API is not set, as beside a container, the context alone does.
func Run(ctx context.Context, o Options) {
	ctx, cancel := context.WithCancel(ctx)
	settings, err := ReadSettings(o.Getenv)
	log := slog.New(slog.NewJSONHandler(o.Stderr, &slog.HandlerOptions{Level: settings.Level})).With("extension", o.Name)
	tokens := token.New(token.Options{Fetch: stsclient.New(settings.Audience).Fetch})
	options := relay.Options{
		Dial:       dial.Proxy{Address: settings.Proxy, TLS: settings.TLS}.Dial,
		Credential: func(ctx context.Context) (string, error) { return bearer(tokens.Get(ctx)) },
		Replace: func(ctx context.Context, refused string) (string, error) {
			return bearer(tokens.Replace(ctx, strings.TrimPrefix(refused, scheme)))
		},
		Code: token.CodeOf, Log: log,
	}
	var wrong *SettingError
	if errors.As(err, &wrong) {
		log.Error("a setting is wrong", "error", err)
		if wrong.Variable != "EGRESS_LOG" {
			options.Unusable = wrong.Variable
		}
	}
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel()
	serve(ctx, &parts, settings.Listen, relay.New(options), log)
	fetched := make(chan struct{})
	parts.Go(func() {
		defer close(fetched)
		if options.Unusable != "" {
			return
		}
		if _, err := tokens.Get(ctx); err != nil && ctx.Err() == nil {
			log.Error("there is no token", "code", token.CodeOf(err), "error", err)
		}
	})
	if address := o.Getenv("AWS_LAMBDA_RUNTIME_API"); address != "" {
		awaitShutdown(ctx, lambdaapi.API{Address: address, Client: dial.RuntimeAPI()}, o.Name, fetched, log)
		return
	}
	<-ctx.Done()
}

// scheme is that of the credential (RFC 6750).
const scheme = "Bearer "

// bearer makes the value of Proxy-Authorization of a token.
func bearer(token string, err error) (string, error) {
	if err != nil {
		return "", err
	}
	return scheme + token, nil
}

// serve listens before it returns, and goes on serving beside. Where somebody else has
// the port it tries again: the function's clients then talk to whoever that is, and the
// network alone stops them.
func serve(ctx context.Context, parts *sync.WaitGroup, address string, r *relay.Relay, log *slog.Logger) {
	ln, err := net.Listen("tcp", address)
	if err == nil {
		log.Info("listening", "address", ln.Addr().String())
		parts.Go(func() { r.Serve(ctx, ln) })
		return
	}
	log.Error("cannot listen", "address", address, "error", err)
	parts.Go(func() {
		for err != nil {
			if !pause(ctx) {
				return
			}
			ln, err = net.Listen("tcp", address)
		}
		log.Warn("listening at last", "address", ln.Addr().String())
		r.Serve(ctx, ln)
	})
}

// pause waits until something can be tried again, and reports whether it should be.
func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(retryInterval):
		return true
	}
}

// awaitShutdown registers, and returns when Lambda says SHUTDOWN or the context ends.
// Lambda may freeze the environment from the first wait for an event on, so that waits
// for the first token: frozen half-way, its fetch would cost the first request.
func awaitShutdown(ctx context.Context, api lambdaapi.API, name string, fetched <-chan struct{}, log *slog.Logger) {
	id := ""
	for ; ; pause(ctx) {
		err := ctx.Err()
		if err != nil {
			return
		}
		if id == "" {
			id, err = api.Register(ctx, name)
		}
		var event string
		if err == nil {
			<-fetched
			event, err = api.Next(ctx, id)
		}
		switch {
		case err != nil && ctx.Err() == nil:
			log.Error("Lambda's Extensions API does not answer", "error", err)
		case event == "SHUTDOWN":
			return
		case err == nil:
			log.Warn("an event that nobody asked for", "type", fmt.Sprintf("%.20q", event))
		}
	}
}
