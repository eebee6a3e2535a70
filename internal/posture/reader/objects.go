//go:build aws

package reader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// maxObject bounds an object that is read, in bytes.
const maxObject = 64 << 20

// Objects are those below a prefix of a bucket.
type Objects struct {
	client         *s3.Client
	bucket, prefix string
}

// NewObjects returns the objects of a bucket below a prefix, which is "" or ends in a slash.
func NewObjects(cfg aws.Config, bucket, prefix string) *Objects {
	client := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = cfg.BaseEndpoint != nil })
	return &Objects{client: client, bucket: bucket, prefix: prefix}
}

// Get returns an object of at most 64 MiB. Its error is fs.ErrNotExist where there is none.
func (o *Objects) Get(ctx context.Context, name string) ([]byte, error) {
	key := o.prefix + name
	out, err := o.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &o.bucket, Key: &key})
	none := (*types.NoSuchKey)(nil)
	if errors.As(err, &none) {
		return nil, fmt.Errorf("s3://%s/%s: %w", o.bucket, key, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("reading s3://%s/%s: %w", o.bucket, key, err)
	}
	defer func() { _ = out.Body.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(out.Body, maxObject+1))
	if err == nil && len(data) > maxObject {
		err = fmt.Errorf("it has more than %d bytes", maxObject)
	}
	if err != nil {
		return nil, fmt.Errorf("reading s3://%s/%s: %w", o.bucket, key, err)
	}
	return data, nil
}

// Write writes an object.
func (o *Objects) Write(ctx context.Context, name string, data []byte) error {
	key := o.prefix + name
	if _, err := o.client.PutObject(ctx, &s3.PutObjectInput{Bucket: &o.bucket, Key: &key, Body: bytes.NewReader(data)}); err != nil {
		return fmt.Errorf("writing s3://%s/%s: %w", o.bucket, key, err)
	}
	return nil
}
