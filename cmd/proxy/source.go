package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/source"
)

// shortest is the least time between two polls, or between two lots of metrics.
const shortest = time.Second

// runOptions is the command line of run.
type runOptions struct {
	path     string        // "": the embedded quick-start policy
	poll     time.Duration // between two looks at a configuration that is not a file
	emf      time.Duration // between two lots of CloudWatch metrics; 0: none
	profiles bool          // serve /debug/pprof
}

// flags puts the options on a command line.
func (o *runOptions) flags(to *pflag.FlagSet) {
	to.StringVar(&o.path, "config", "", "policy `FILE`, s3://bucket/key or https://host/path")
	to.DurationVar(&o.poll, "config-poll", 10*time.Second, "how often to look at a policy that is not a file")
	to.DurationVar(&o.emf, "emf", 0, "how often to print CloudWatch metrics (EMF) on standard output; 0: never")
	to.BoolVar(&o.profiles, "pprof", false, "serve /debug/pprof on the admin listener, which must be on loopback")
}

// check says what no command line may say.
func (o *runOptions) check(flags *pflag.FlagSet) error {
	switch {
	case o.path == "" && flags.Changed("config"):
		// A variable that is not set must not mean the quick-start policy.
		return errors.New("--config: the name of the file is empty")
	case o.poll < shortest:
		return fmt.Errorf("--config-poll: %v is less than %v", o.poll, shortest)
	case o.emf != 0 && o.emf < shortest:
		return fmt.Errorf("--emf: %v is less than %v; 0 prints none", o.emf, shortest)
	default:
		return nil
	}
}

// openRemote returns the source of a configuration that is not a file, nil of
// one that is. It calls reading before it reads a file of this machine.
func (o *runOptions) openRemote(ctx context.Context, reading func(path string)) (*source.Remote, error) {
	if !source.IsRemote(o.path) {
		return nil, nil
	}
	r, err := source.NewRemote(ctx, o.path, source.RemoteOptions{Every: o.poll, Reading: reading})
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	return r, nil
}

// fetch reads the configuration from its remote source, as strictly as a file.
func (f *policyFile) fetch(ctx context.Context) (*config.Config, error) {
	data, open, err := f.remote.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading the configuration: %w", err)
	}
	return config.Parse(f.remote.Name(), data, open)
}

// watch asks for a reload whenever what the policy was read from has changed.
func (p *program) watch(ctx context.Context, reloads chan<- struct{}) {
	changed := func() { ask(reloads) }
	if p.file.remote == nil {
		p.file.watcher.Run(ctx, changed)
		return
	}
	files := make(chan struct{})
	go func() { defer close(files); p.file.watcher.Run(ctx, changed) }()
	p.file.remote.Run(ctx, changed)
	<-files
}

// reloading carries reloads out. It is not done where signals are waited for: a
// source that answers slowly must not keep the program from stopping. A program
// that has begun to stop carries none out.
func (p *program) reloading(ctx context.Context, reloads <-chan struct{}) {
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
