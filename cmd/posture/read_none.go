//go:build !aws

package main

import (
	"context"
	"errors"
	"io"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/archive"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/snapshot"
)

// read says that this build reads no accounts. The clients of AWS take a compiler two
// minutes and 2.4 GB, which nobody who works on the gate should have to wait for.
func (f *flags) read(context.Context, io.Writer) (*snapshot.Set, error) {
	return nil, errNoClients
}

// readRemote says the same of a policy that is no file: that has a client of AWS too.
func readRemote(context.Context, string) (*config.Config, error) {
	return nil, errNoClients
}

// objects says the same of what is in a bucket.
func objects(context.Context, string, string) (archive.Store, error) {
	return nil, errNoClients
}

// errNoClients says how such a program is built that has them.
var errNoClients = errors.New("this program was built without its clients of AWS, and can only read a snapshot (--from) and files; build it with: go install -tags aws ./cmd/posture")
