//go:build aws

package reader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/snapshot"
)

// workers is how many functions are read at once.
const workers = 8

// Options say what to read.
type Options struct {
	Config aws.Config
	// Roles are ARNs of roles to take on, each an account to read. Nil: the account of
	// Config's own credentials.
	Roles []string
	// Regions are what is read of each account. Nil: all that it has enabled.
	Regions []string
	// Buckets are those whose policies are read, with the first account's credentials.
	Buckets []string
	// Progress is told what is being read, a line at a time, by one goroutine at once. Nil:
	// nobody is.
	Progress func(line string)
}

// reading is one account while it is read.
type reading struct {
	opts *Options
	cfg  aws.Config

	mu   sync.Mutex
	snap snapshot.Snapshot // of which mu guards Unread
}

// Read reads every account that was asked for. Its only error is that of ctx: what AWS
// does not give is in the set.
func Read(ctx context.Context, opts *Options) (*snapshot.Set, error) {
	set := &snapshot.Set{Format: snapshot.Format, Made: time.Now().UTC().Format(time.RFC3339)}
	roles := opts.Roles
	if len(roles) == 0 {
		roles = []string{""}
	}
	for i, role := range roles {
		r := &reading{opts: opts, cfg: opts.Config.Copy()}
		if role != "" {
			r.cfg.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(opts.Config), role,
				func(o *stscreds.AssumeRoleOptions) { o.RoleSessionName = "egress-posture" }))
		}
		r.all(ctx, role, i == 0)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("reading: %w", err)
		}
		slices.SortFunc(r.snap.Unread, func(a, b snapshot.Unread) int {
			return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Call, b.Call), cmp.Compare(a.Resource, b.Resource))
		})
		set.Snapshots = append(set.Snapshots, r.snap)
	}
	return set, nil
}

// all reads one account; first says that the buckets are read with it.
func (r *reading) all(ctx context.Context, role string, first bool) {
	if role != "" {
		if part := strings.SplitN(role, ":", 6); len(part) == 6 {
			r.snap.ID = part[4]
		}
		// Without credentials every call would fail, and none would say why.
		if _, err := r.cfg.Credentials.Retrieve(ctx); err != nil {
			r.unread("", "sts:AssumeRole", role, err)
			return
		}
	}
	caller, err := sts.NewFromConfig(r.cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		r.unread("", "sts:GetCallerIdentity", "", err)
	} else {
		r.snap.ID = aws.ToString(caller.Account)
	}
	for _, region := range r.regions(ctx) {
		if !region.Off {
			r.progress("account %s, region %s", r.snap.ID, region.Name)
			r.region(ctx, &region)
		}
		r.snap.Regions = append(r.snap.Regions, region)
	}
	r.roles(ctx)
	if first {
		r.buckets(ctx)
	}
}

// regions returns the regions to read, those that are off among them if they were asked
// for by name.
func (r *reading) regions(ctx context.Context) (out []snapshot.Region) {
	names := r.opts.Regions
	seen, err := ec2.NewFromConfig(r.cfg).DescribeRegions(ctx, &ec2.DescribeRegionsInput{AllRegions: aws.Bool(true)})
	if err != nil {
		r.unread("", "ec2:DescribeRegions", "", err)
		if names == nil {
			names = []string{r.cfg.Region}
		}
		for _, name := range names {
			out = append(out, snapshot.Region{Name: name})
		}
		return out
	}
	off := map[string]bool{}
	for _, region := range seen.Regions {
		name := aws.ToString(region.RegionName)
		off[name] = aws.ToString(region.OptInStatus) == "not-opted-in"
		if r.opts.Regions == nil && !off[name] {
			names = append(names, name)
		}
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		if _, known := off[name]; !known {
			r.add(&snapshot.Unread{Region: name, Call: "ec2:DescribeRegions", Resource: name, Code: "unknown", Detail: "AWS has no such region"})
			continue
		}
		out = append(out, snapshot.Region{Name: name, Off: off[name]})
	}
	return out
}

// unread adds that a call failed for good.
func (r *reading) unread(region, call, resource string, err error) {
	u := &snapshot.Unread{Region: region, Call: call, Resource: resource, Code: "failed", Detail: err.Error()}
	if api := smithy.APIError(nil); errors.As(err, &api) {
		// The message of a denial names the caller, and differs by resource.
		u.Code, u.Detail = api.ErrorCode(), ""
	}
	r.add(u)
}

// add adds a line of what was not read.
func (r *reading) add(u *snapshot.Unread) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.snap.Unread = append(r.snap.Unread, *u)
}

// progress says what is being read.
func (r *reading) progress(format string, args ...any) {
	if r.opts.Progress != nil {
		r.opts.Progress(fmt.Sprintf(format, args...))
	}
}

// pager is a paginator of the SDK.
type pager[Out, Opts any] interface {
	HasMorePages() bool
	NextPage(ctx context.Context, opts ...func(*Opts)) (Out, error)
}

// pages calls each with every page. One that fails ends it, and becomes a line of what was
// not read; what came before it stays.
func pages[Out, Opts any](ctx context.Context, r *reading, region, call, resource string, p pager[Out, Opts], each func(Out)) bool {
	for p.HasMorePages() {
		page, err := p.NextPage(ctx)
		if err != nil {
			r.unread(region, call, resource, err)
			return false
		}
		each(page)
	}
	return true
}
