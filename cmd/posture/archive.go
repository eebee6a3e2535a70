package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/emf"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/archive"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/output"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/summary"
)

// inS3 is the beginning of what is in a bucket.
const inS3 = "s3://"

// formatEMF is the format of a line of metrics for CloudWatch.
const formatEMF = "emf"

// splitS3 takes s3://BUCKET/KEY apart; ok is false for what has no bucket.
func splitS3(where string) (bucket, key string, ok bool) {
	bucket, key, _ = strings.Cut(strings.TrimPrefix(where, inS3), "/")
	return bucket, key, bucket != ""
}

// readFile reads a file, or an object of S3.
func readFile(ctx context.Context, name string) ([]byte, error) {
	if !strings.HasPrefix(name, inS3) {
		return config.ReadFile(name)
	}
	folder, file := path.Split(strings.TrimPrefix(name, inS3))
	s, err := openStore(ctx, inS3+folder)
	if err != nil {
		return nil, err
	}
	return s.Get(ctx, file)
}

// openStore opens a folder, or objects below a prefix of a bucket.
func openStore(ctx context.Context, where string) (archive.Store, error) {
	if !strings.HasPrefix(where, inS3) {
		return archive.Folder(where), nil
	}
	bucket, prefix, ok := splitS3(where)
	if !ok {
		return nil, fmt.Errorf("%s: write s3://BUCKET/PREFIX", where)
	}
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	return objects(ctx, bucket, prefix)
}

// deliver keeps what was found, writes the report, and leaves word for the next run. That is
// last: what nobody has been told of is new at the next run once more.
func (f *flags) deliver(ctx context.Context, stdout io.Writer, report *output.Report) error {
	if f.archive == "" {
		return f.write(stdout, report, nil)
	}
	store, err := openStore(ctx, f.archive)
	if err != nil {
		return err
	}
	last, err := archive.Last(ctx, store)
	if err != nil {
		return err
	}
	var lines bytes.Buffer
	if err := output.Write(&lines, report, output.OCSF); err != nil {
		return err
	}
	if err := archive.Save(ctx, store, report.Made, lines.Bytes()); err != nil {
		return err
	}
	fresh := last.New(report.Findings)
	if err := f.write(stdout, report, &fresh); err != nil {
		return err
	}
	return archive.Remember(ctx, store, report.Made, report.Findings)
}

// metrics are what CloudWatch is told. Fresh is what is new; nil: nobody has compared, and
// there is no such metric.
func metrics(s *summary.Summary, fresh *[]string) map[string]float64 {
	m := map[string]float64{
		"Functions": float64(s.Total), "FunctionsBehindTheGate": float64(s.Behind),
		"FindingsHigh": float64(s.Counts[finding.High.String()]), "FindingsMedium": float64(s.Counts[finding.Medium.String()]),
	}
	if fresh != nil {
		m["FindingsHighNew"] = float64(len(*fresh))
	}
	return m
}

// writeMetrics writes a line of metrics.
func (f *flags) writeMetrics(w io.Writer, report *output.Report, fresh *[]string) error {
	line, err := emf.Line(time.Now(), f.deployment, metrics(report.Summary, fresh))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", line)
	return err
}
