package daemon

import (
	"context"
)

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
