// Package healthcheck asks a running proxy whether it is ready, or alive, as a container's
// health check does; the image has no shell and no curl.
//
// What it does: it fetches /readyz or /healthz of an admin listener.
//
// What it does not do: it takes no proxy from the environment, follows no name, and has
// nothing to do with the connections of clients: it is another process than the one it
// asks.
//
//	err := healthcheck.Check(ctx, "127.0.0.1:9090", healthcheck.Live, os.Stdout)
package healthcheck

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// Question is what is asked.
type Question string

// The questions. A program that cannot write its records is alive, and not ready: whoever
// ends what is not ready ends the tunnels that it has, and what comes in its place cannot
// write either.
const (
	Ready Question = "/readyz"  // should anybody be sent there?
	Live  Question = "/healthz" // does the program answer?
)

// Check asks the admin listener and passes its text on; anything but 200 is an error. It
// waits for four seconds. Of an unspecified address it asks loopback.
func Check(ctx context.Context, admin string, question Question, out io.Writer) error {
	at, err := netip.ParseAddrPort(admin)
	if err != nil {
		return fmt.Errorf("--admin: %q is not an address and port such as 127.0.0.1:9090", admin)
	}
	if at.Addr().IsUnspecified() {
		at = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), at.Port())
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.String()+string(question), nil)
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
