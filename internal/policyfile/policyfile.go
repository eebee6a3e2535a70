// Package policyfile reads a policy from wherever it is: a file, standard input, S3 or an HTTP
// server, as strictly from each.
//
// What it does: Load reads one once. Open and Fetch are for who reads it again when it has
// changed.
//
// What it does not do: it watches nothing, and keeps nothing.
//
//	cfg, err := policyfile.Load(ctx, "s3://bucket/egress.yaml", os.Stdin)
package policyfile

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/source"
)

// Open returns the source of a policy that is not a file, nil of one that is. It is polled so
// often (zero or less: as package source has it), and calls reading before it reads a file of
// this machine.
func Open(ctx context.Context, name string, every time.Duration, reading func(path string)) (*source.Remote, error) {
	if !source.IsRemote(name) {
		return nil, nil
	}
	r, err := source.NewRemote(ctx, name, source.RemoteOptions{Every: every, Reading: reading})
	if err != nil {
		return nil, fmt.Errorf("opening the configuration: %w", err)
	}
	return r, nil
}

// Fetch reads a policy from its remote source, as strictly as a file.
func Fetch(ctx context.Context, from *source.Remote) (*config.Config, error) {
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

// Load reads a policy once, wherever --config may say that it is, and as strictly as the
// program that serves it; "-" is stdin.
func Load(ctx context.Context, name string, stdin io.Reader) (*config.Config, error) {
	if name == "-" {
		data, err := io.ReadAll(io.LimitReader(stdin, mostStdin))
		if err != nil {
			return nil, fmt.Errorf("reading standard input: %w", err)
		}
		return config.Parse("stdin", data, config.ReadFile)
	}
	remote, err := Open(ctx, name, 0, func(string) {})
	switch {
	case err != nil:
		return nil, err
	case remote != nil:
		return Fetch(ctx, remote)
	default:
		return config.Load(name)
	}
}
