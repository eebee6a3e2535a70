//go:build torture

package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// toxics are the bad networks: some before the program, for clients, and one
// behind it, before an origin.
type toxics struct {
	world   *world
	clients []*toxiproxy.Proxy
	origins []*toxiproxy.Proxy
}

// toxicKinds are what a bad network does. All but the last lose nothing.
var toxicKinds = []string{
	`{"name":"t","type":"latency","stream":"upstream","attributes":{"latency":15,"jitter":15}}`,
	`{"name":"t","type":"latency","stream":"downstream","attributes":{"latency":25,"jitter":20}}`,
	`{"name":"t","type":"slicer","stream":"upstream","attributes":{"average_size":40,"size_variation":30,"delay":300}}`,
	`{"name":"t","type":"slicer","stream":"downstream","attributes":{"average_size":60,"size_variation":50,"delay":200}}`,
	`{"name":"t","type":"bandwidth","stream":"upstream","attributes":{"rate":200}}`,
	`{"name":"t","type":"reset_peer","stream":"downstream","toxicity":0.8,"attributes":{"timeout":40}}`,
}

// newToxics starts the bad networks, with one toxic each before the program and
// none yet behind it.
func newToxics(w *world) (*toxics, error) {
	t := &toxics{world: w}
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxics have a logger of their own
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	for i, kind := range toxicKinds {
		p := toxiproxy.NewProxy(server, fmt.Sprintf("client%d", i), "127.0.0.1:0", fmt.Sprintf("127.0.0.1:%d", w.ports.proxy))
		if err := p.Start(); err != nil {
			return nil, fmt.Errorf("starting a bad network: %w", err)
		}
		if _, err := p.Toxics.AddToxicJson(strings.NewReader(kind)); err != nil {
			return nil, fmt.Errorf("adding %s: %w", kind, err)
		}
		t.clients = append(t.clients, p)
	}
	for i, port := range []uint16{w.ports.tls, w.ports.raw} {
		p := toxiproxy.NewProxy(server, fmt.Sprintf("origin%d", i), fmt.Sprintf("127.1.1.1:%d", port), fmt.Sprintf("127.1.2.1:%d", port))
		if err := p.Start(); err != nil {
			return nil, fmt.Errorf("starting a bad network: %w", err)
		}
		t.origins = append(t.origins, p)
	}
	return t, nil
}

// change puts another toxic before the origin.
func (t *toxics) change(r *rand.Rand) (kind string, err error) {
	kind = toxicKinds[r.IntN(len(toxicKinds))]
	for _, p := range t.origins {
		p.Toxics.ResetToxics(context.Background())
		if _, err := p.Toxics.AddToxicJson(strings.NewReader(kind)); err != nil {
			return "", fmt.Errorf("adding %s: %w", kind, err)
		}
	}
	return kind, nil
}

// heal takes the toxics before the origin out.
func (t *toxics) heal() {
	for _, p := range t.origins {
		p.Toxics.ResetToxics(context.Background())
	}
}

// pick returns the address of one network before the program.
func (t *toxics) pick(r *rand.Rand) string { return t.clients[r.IntN(len(t.clients))].Listen }

// close stops the networks.
func (t *toxics) close() {
	for _, p := range append(t.clients, t.origins...) {
		p.Stop()
	}
}
