package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/source/manifest"
)

// s3Getter returns what reads a configuration, and what is beside it, from S3.
// Credentials are those of the SDK's default chain, in a task those of its role,
// and are renewed by the SDK before they end.
func s3Getter(ctx context.Context, name string) (get, error) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(name, "s3://"), "/")
	if bucket == "" || key == "" || strings.HasSuffix(key, "/") {
		return nil, errors.New("write s3://bucket/key, or s3://bucket/prefix/ where there is a " + manifest.Name)
	}
	// The SDK logs text of its own to standard error unless it is told not to.
	cfg, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithHTTPClient(newSDKClient()), awsconfig.WithLogger(logging.Nop{}))
	if err != nil {
		return nil, fmt.Errorf("configuring the AWS SDK: %w", err)
	}
	if cfg.Region == "" {
		return nil, errors.New("AWS_REGION is not set; it is the region of the bucket")
	}
	client := s3.NewFromConfig(cfg)
	folder := key[:strings.LastIndexByte(key, '/')+1]
	return func(ctx context.Context, path, tag string, most int) (*answer, error) {
		in := &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String(folder + path)}
		if tag != "" {
			in.IfNoneMatch = aws.String(tag)
		}
		return getObject(ctx, client, in, most)
	}, nil
}

// getObject asks S3 for an object of at most so many bytes.
func getObject(ctx context.Context, client *s3.Client, in *s3.GetObjectInput, most int) (*answer, error) {
	out, err := client.GetObject(ctx, in)
	if err != nil {
		switch statusOf(err) {
		case http.StatusNotModified:
			return nil, nil
		case http.StatusNotFound:
			return nil, fmt.Errorf("%w: %w", ErrMissing, err)
		case http.StatusForbidden, http.StatusUnauthorized:
			return nil, fmt.Errorf("%w, or there is no such object: %w", ErrDenied, err)
		}
		return nil, err
	}
	defer func() { _ = out.Body.Close() }() // it was only read
	data, err := readAll(out.Body, most)
	if err != nil {
		return nil, err
	}
	return &answer{data: data, tag: aws.ToString(out.ETag)}, nil
}

// statusOf returns the status of an answer of S3 itself, 0 of any other error:
// the server of the credentials may have failed as well.
func statusOf(err error) int {
	ofS3 := s3.ResponseError(nil)
	answered := (interface{ HTTPStatusCode() int })(nil)
	if !errors.As(err, &ofS3) || !errors.As(ofS3, &answered) {
		return 0
	}
	return answered.HTTPStatusCode()
}
