//go:build aws

package reader

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/secrets"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/snapshot"
)

// latest is the version that is not published.
const latest = "$LATEST"

// region reads all of one region.
func (r *reading) region(ctx context.Context, region *snapshot.Region) {
	cfg := r.cfg.Copy()
	cfg.Region = region.Name
	client := lambda.NewFromConfig(cfg)
	r.functions(ctx, client, region)
	r.mappings(ctx, client, region)
	r.eachFunction(ctx, client, region)
	r.network(ctx, cfg, region)
	r.firewalls(ctx, cfg, region)
}

// functions reads functions and their versions, which come in one list.
func (r *reading) functions(ctx context.Context, client *lambda.Client, region *snapshot.Region) {
	versions := map[string][]snapshot.Version{}
	p := lambda.NewListFunctionsPaginator(client, &lambda.ListFunctionsInput{FunctionVersion: types.FunctionVersionAll})
	pages(ctx, r, region.Name, "lambda:ListFunctions", "", p, func(page *lambda.ListFunctionsOutput) {
		for i := range page.Functions {
			f := &page.Functions[i]
			if number := aws.ToString(f.Version); number != latest {
				arn := strings.TrimSuffix(aws.ToString(f.FunctionArn), ":"+number)
				versions[arn] = append(versions[arn], snapshot.Version{Number: number, Network: network(f.VpcConfig)})
				continue
			}
			region.Functions = append(region.Functions, r.function(region.Name, f))
		}
		r.progress("region %s: %d functions listed", region.Name, len(region.Functions))
	})
	for i := range region.Functions {
		region.Functions[i].Versions = versions[region.Functions[i].ARN]
	}
}

// function takes over what the list says of a function.
func (r *reading) function(region string, f *types.FunctionConfiguration) snapshot.Function {
	out := snapshot.Function{
		ARN: strings.TrimSuffix(aws.ToString(f.FunctionArn), ":"+latest), Name: aws.ToString(f.FunctionName),
		Role: aws.ToString(f.Role), Network: network(f.VpcConfig),
	}
	if env := f.Environment; env != nil {
		for name, content := range env.Variables {
			out.Vars = append(out.Vars, secrets.Var(name, content))
		}
		slices.SortFunc(out.Vars, func(a, b snapshot.Var) int { return strings.Compare(a.Name, b.Name) })
		if env.Error != nil {
			out.VarsCode = aws.ToString(env.Error.ErrorCode)
			r.add(&snapshot.Unread{Region: region, Call: "lambda:ListFunctions", Resource: out.ARN, Code: out.VarsCode, Detail: "environment variables"})
		}
	}
	for _, l := range f.Layers {
		out.Layers = append(out.Layers, aws.ToString(l.Arn))
	}
	if f.CapacityProviderConfig != nil {
		r.add(&snapshot.Unread{Region: region, Call: "lambda:ListFunctions", Resource: out.ARN, Code: "capacity_provider", Detail: "its network is that of a capacity provider, which is not read"})
	}
	return out
}

// network takes over how a function is attached.
func network(v *types.VpcConfigResponse) (n snapshot.Network) {
	if v == nil {
		return n
	}
	return snapshot.Network{VPC: aws.ToString(v.VpcId), Subnets: v.SubnetIds, Groups: v.SecurityGroupIds, IPv6: aws.ToBool(v.Ipv6AllowedForDualStack)}
}

// mappings reads event sources, all of the region in one list.
func (r *reading) mappings(ctx context.Context, client *lambda.Client, region *snapshot.Region) {
	sources := map[string][]string{}
	p := lambda.NewListEventSourceMappingsPaginator(client, &lambda.ListEventSourceMappingsInput{})
	pages(ctx, r, region.Name, "lambda:ListEventSourceMappings", "", p, func(page *lambda.ListEventSourceMappingsOutput) {
		for i := range page.EventSourceMappings {
			m := &page.EventSourceMappings[i]
			source := aws.ToString(m.EventSourceArn)
			if source == "" {
				source = "self-managed " + aws.ToString(m.UUID)
			}
			arn, _ := functionARN(aws.ToString(m.FunctionArn))
			sources[arn] = append(sources[arn], source)
		}
	})
	for i := range region.Functions {
		region.Functions[i].Mappings = sources[region.Functions[i].ARN]
	}
}

// functionARN takes an ARN of a function into that without a qualifier, and the
// qualifier.
func functionARN(arn string) (function, qualifier string) {
	part := strings.SplitN(arn, ":", 8)
	if len(part) < 8 {
		return arn, ""
	}
	return strings.Join(part[:7], ":"), part[7]
}

// eachFunction reads what is asked of one function at a time, and leaves out those that
// were deleted meanwhile.
func (r *reading) eachFunction(ctx context.Context, client *lambda.Client, region *snapshot.Region) {
	gone := make([]bool, len(region.Functions))
	var all sync.WaitGroup
	next := make(chan int)
	for range workers {
		all.Go(func() {
			for i := range next {
				gone[i] = !r.callers(ctx, client, region.Name, &region.Functions[i])
			}
		})
	}
	for i := range region.Functions {
		if i > 0 && i%100 == 0 {
			r.progress("region %s: %d of %d functions read", region.Name, i, len(region.Functions))
		}
		next <- i
	}
	close(next)
	all.Wait()
	present := region.Functions[:0]
	for i := range region.Functions {
		if !gone[i] {
			present = append(present, region.Functions[i])
		}
	}
	region.Functions = present
}

// callers reads who may call a function. It reports whether the function is still there:
// the list of aliases is asked for last, because an answer of GetPolicy that there is
// nothing means either.
func (r *reading) callers(ctx context.Context, client *lambda.Client, region string, f *snapshot.Function) bool {
	r.policy(ctx, client, region, f, "")
	urls := lambda.NewListFunctionUrlConfigsPaginator(client, &lambda.ListFunctionUrlConfigsInput{FunctionName: &f.ARN})
	for urls.HasMorePages() {
		page, err := urls.NextPage(ctx)
		if isGone(err) {
			break
		}
		if err != nil {
			r.unread(region, "lambda:ListFunctionUrlConfigs", f.ARN, err)
			break
		}
		for _, u := range page.FunctionUrlConfigs {
			_, qualifier := functionARN(aws.ToString(u.FunctionArn))
			f.URLs = append(f.URLs, snapshot.URL{Qualifier: qualifier, Auth: string(u.AuthType)})
		}
	}
	aliases := lambda.NewListAliasesPaginator(client, &lambda.ListAliasesInput{FunctionName: &f.ARN})
	for aliases.HasMorePages() {
		page, err := aliases.NextPage(ctx)
		switch {
		case isGone(err):
			r.add(&snapshot.Unread{Region: region, Call: "lambda:ListAliases", Resource: f.ARN, Code: "ResourceNotFoundException", Gone: true})
			return false
		case err != nil:
			r.unread(region, "lambda:ListAliases", f.ARN, err)
			return true
		}
		for i := range page.Aliases {
			r.alias(ctx, client, region, f, &page.Aliases[i])
		}
	}
	return true
}

// alias takes over an alias, and reads its policy.
func (r *reading) alias(ctx context.Context, client *lambda.Client, region string, f *snapshot.Function, a *types.AliasConfiguration) {
	out := snapshot.Alias{Name: aws.ToString(a.Name), Versions: []string{aws.ToString(a.FunctionVersion)}}
	if a.RoutingConfig != nil {
		for number := range a.RoutingConfig.AdditionalVersionWeights {
			out.Versions = append(out.Versions, number)
		}
		slices.Sort(out.Versions)
	}
	f.Aliases = append(f.Aliases, out)
	r.policy(ctx, client, region, f, out.Name)
}

// policy reads the resource policy of a function or of an alias, if there is one.
func (r *reading) policy(ctx context.Context, client *lambda.Client, region string, f *snapshot.Function, alias string) {
	in := &lambda.GetPolicyInput{FunctionName: &f.ARN}
	resource := f.ARN
	if alias != "" {
		in.Qualifier, resource = &alias, f.ARN+":"+alias
	}
	out, err := client.GetPolicy(ctx, in)
	switch {
	case isGone(err):
	case err != nil:
		r.unread(region, "lambda:GetPolicy", resource, err)
	default:
		f.Policies = append(f.Policies, snapshot.Policy{Name: alias, Document: aws.ToString(out.Policy)})
	}
}

// isGone reports whether AWS said that there is no such thing.
func isGone(err error) bool {
	missing := (*types.ResourceNotFoundException)(nil)
	return errors.As(err, &missing)
}
