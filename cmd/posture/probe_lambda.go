package main

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/probe"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/probe/attempt"
)

// runtimeVariable has the address of Lambda's Runtime API. Lambda sets it, and nobody else.
const runtimeVariable = "AWS_LAMBDA_RUNTIME_API"

// reserve is how much of an invocation's time is kept for writing what was found: a probe
// that Lambda cuts off would leave nothing behind.
const reserve = time.Second

// inLambda reports whether the program runs as a function of Lambda.
func inLambda() bool { return os.Getenv(runtimeVariable) != "" }

// answer is what whoever invokes the function gets; the tries are in its log.
type answer struct {
	Verdict  probe.Verdict `json:"verdict"`
	Headline string        `json:"headline"`
}

// serve probes once for each invocation, until Lambda ends the process: it does not return.
// An event has no say in what is tried, for else whoever may invoke the function could have
// it connect to anywhere.
func (f *probeFlags) serve(ctx context.Context, prober *attempt.Prober, tries []probe.Try, stdout io.Writer) {
	lambda.StartWithOptions(func(ctx context.Context) (*answer, error) {
		ctx, cancel := within(ctx)
		defer cancel()
		report, err := f.run(ctx, prober, tries, stdout)
		switch {
		case errors.Is(err, errFound): // the invocation fails, which Lambda counts
			return nil, errors.New(report.Headline)
		case err != nil:
			return nil, err
		}
		return &answer{report.Verdict, report.Headline}, nil
	}, lambda.WithContext(ctx))
}

// within returns a context that ends before that of an invocation, so that what was cut off
// is told: a control that fails at the end makes it unknown.
func within(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, _ := ctx.Deadline() // each invocation has one; without it nothing is tried
	return context.WithDeadline(ctx, deadline.Add(-reserve))
}
