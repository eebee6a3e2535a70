package extension

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/extension/dial"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/extension/doctor"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/extension/stsclient"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/extension/token"
)

// Doctor writes in words what the function lacks, and reports whether it lacks nothing.
func Doctor(ctx context.Context, getenv func(string) string, to io.Writer) bool {
	settings, err := ReadSettings(getenv)
	proxy := dial.Proxy{Address: settings.Proxy, TLS: settings.TLS}
	sts := stsclient.New(settings.Audience)
	return doctor.Examine(ctx, doctor.Options{
		Setting: err, Getenv: getenv, Listen: settings.Listen,
		Local: func(ctx context.Context) error { return dial.Local(ctx, settings.Listen) },
		Fetch: func(ctx context.Context) (token.Token, error) {
			ctx, cancel := context.WithTimeout(ctx, token.FetchTimeout)
			defer cancel()
			return sts.Fetch(ctx)
		},
		Dial: func(ctx context.Context) error {
			conn, err := proxy.Dial(ctx)
			if err != nil {
				return err
			}
			return conn.Close()
		},
		Try: func(ctx context.Context, value string) (int, string, error) { return tryProxy(ctx, proxy, value) },
	}, to)
}

// tryProxy sends a CONNECT that the proxy refuses, and returns status and phrase.
func tryProxy(ctx context.Context, proxy dial.Proxy, value string) (status int, phrase string, err error) {
	conn, err := proxy.Dial(ctx)
	if err != nil {
		return 0, "", err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.SetDeadline(time.Now().Add(dial.Timeout)); err != nil {
		return 0, "", fmt.Errorf("asking the proxy: %w", err)
	}
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\nProxy-Authorization: %s%s\r\n\r\n", doctor.Target, scheme, value); err != nil {
		return 0, "", fmt.Errorf("asking the proxy: %w", err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return 0, "", fmt.Errorf("reading the proxy's answer: %w", err)
	}
	return answer.StatusCode, fmt.Sprintf("%.200s", answer.Status[min(4, len(answer.Status)):]), answer.Body.Close()
}
