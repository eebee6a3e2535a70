package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// newHealthcheck returns the command that a container's health check runs; the
// image has no shell and no curl.
func newHealthcheck() *cobra.Command {
	var admin string
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask a running proxy whether it is ready",
		Example: `  proxy healthcheck
  proxy healthcheck --admin 127.0.0.1:9191`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return failed(healthcheck(cmd.Context(), admin, cmd.OutOrStdout()))
		},
	}
	cmd.Flags().StringVar(&admin, "admin", "127.0.0.1:9090", "`ADDRESS` of the admin listener")
	return cmd
}

// healthcheck fetches /readyz and passes its text on; anything but 200 is an
// error.
func healthcheck(ctx context.Context, admin string, out io.Writer) error {
	at, err := netip.ParseAddrPort(admin)
	if err != nil {
		return fmt.Errorf("--admin: %q is not an address and port such as 127.0.0.1:9090", admin)
	}
	if at.Addr().IsUnspecified() {
		at = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), at.Port())
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.String()+"/readyz", nil)
	if err != nil {
		return err
	}
	// Proxy is nil on purpose: the proxy's own environment must not redirect it.
	client := &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("asking %s: %w", at, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return fmt.Errorf("asking %s: %w", at, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	fmt.Fprintln(out, strings.TrimSpace(string(text)))
	return nil
}
