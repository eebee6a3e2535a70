package daemon

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/source"
)

// openRemote returns the source of a configuration that is not a file, nil of
// one that is. It calls reading before it reads a file of this machine.
func openRemote(ctx context.Context, name string, every time.Duration, reading func(path string)) (*source.Remote, error) {
	if !source.IsRemote(name) {
		return nil, nil
	}
	r, err := source.NewRemote(ctx, name, source.RemoteOptions{Every: every, Reading: reading})
	if err != nil {
		return nil, fmt.Errorf("opening the configuration: %w", err)
	}
	return r, nil
}

// fetch reads a configuration from its remote source, as strictly as a file.
func fetch(ctx context.Context, from *source.Remote) (*config.Config, error) {
	data, open, err := from.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading the configuration: %w", err)
	}
	if from.Snapshot() {
		return config.ParseSnapshot(from.Name(), data, open)
	}
	return config.Parse(from.Name(), data, open)
}

// mostStdin is how much of a policy on standard input is read: package config
// refuses what is larger than it allows, by its own words.
const mostStdin = 1 << 28

// LoadConfig reads a configuration once, wherever Options.Config may say that it
// is, and as strictly as Run; "-" is stdin.
func LoadConfig(ctx context.Context, name string, stdin io.Reader) (*config.Config, error) {
	if name == "-" {
		data, err := io.ReadAll(io.LimitReader(stdin, mostStdin))
		if err != nil {
			return nil, fmt.Errorf("reading standard input: %w", err)
		}
		return config.Parse("stdin", data, config.ReadFile)
	}
	remote, err := openRemote(ctx, name, 0, func(string) {})
	switch {
	case err != nil:
		return nil, err
	case remote != nil:
		return fetch(ctx, remote)
	default:
		return config.Load(name)
	}
}

// watch asks for a reload whenever what the policy was read from has changed.
func (p *program) watch(ctx context.Context, reloads chan<- struct{}) {
	changed := func() { requestReload(reloads) }
	if p.file.remote == nil {
		p.file.watcher.Run(ctx, changed)
		return
	}
	files := make(chan struct{})
	go func() { defer close(files); p.file.watcher.Run(ctx, changed) }()
	p.file.remote.Run(ctx, changed)
	<-files
}

// reloadLoop carries reloads out. It is not done where signals are waited for: a
// source that answers slowly must not keep the program from stopping. A program
// that has begun to stop carries none out.
func (p *program) reloadLoop(ctx context.Context, reloads <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-reloads:
		}
		if !p.stopping.Load() {
			p.reload(ctx)
		}
	}
}

// reload loads the file again and puts it before both servers: open tunnels are
// judged by it, and the filter prepares for it while no question waits.
func (p *program) reload(ctx context.Context) {
	if p.file.path == "" {
		return
	}
	if !p.file.reload(ctx) {
		return
	}
	p.server.Rejudge()
	if p.filter != nil {
		p.filter.Refresh()
	}
}
