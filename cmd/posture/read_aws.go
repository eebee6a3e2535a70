//go:build aws

package main

import (
	"context"
	"fmt"
	"io"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policyfile"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/archive"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/reader"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/snapshot"
)

// read reads the accounts.
func (f *flags) read(ctx context.Context, stderr io.Writer) (*snapshot.Set, error) {
	cfg, err := reader.Config(ctx)
	if err != nil {
		return nil, err
	}
	return reader.Read(ctx, &reader.Options{
		Config: cfg, Roles: f.roles, Regions: f.regions, Buckets: f.buckets,
		Progress: func(line string) { fmt.Fprintln(stderr, "posture:", line) },
	})
}

// readRemote reads a policy that is no file, as the gate reads it.
func readRemote(ctx context.Context, name string) (*config.Config, error) {
	return policyfile.Load(ctx, name, nil) // which is for "-", and that is no name of one
}

// objects opens what lies below a prefix of a bucket, with the credentials of the program
// itself.
func objects(ctx context.Context, bucket, prefix string) (archive.Store, error) {
	cfg, err := reader.Config(ctx)
	if err != nil {
		return nil, err
	}
	return reader.NewObjects(cfg, bucket, prefix), nil
}
