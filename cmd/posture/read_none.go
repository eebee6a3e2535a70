//go:build !aws

package main

import (
	"context"
	"errors"
	"io"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/snapshot"
)

// read says that this build reads no accounts. The clients of AWS take a compiler two
// minutes and 2.4 GB, which nobody who works on the gate should have to wait for.
func (f *flags) read(context.Context, io.Writer) (*snapshot.Set, error) {
	return nil, errors.New("this program was built without its clients of AWS, and can only read a snapshot (--from); build it with: go install -tags aws ./cmd/posture")
}

// readRemote says that this build reads no policy that is no file: that has a client of AWS
// too.
func readRemote(context.Context, string) (*config.Config, error) {
	return nil, errors.New("--policy: this program was built without its clients of AWS, and reads a file alone; build it with: go install -tags aws ./cmd/posture")
}
