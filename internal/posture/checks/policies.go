package checks

import (
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/policydoc"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/snapshot"
)

// resourcePolicies is P10.
func resourcePolicies(s *scope) {
	for _, f := range s.region.Functions {
		for _, p := range f.Policies {
			arn := qualified(f.ARN, p.Name)
			doc, err := policydoc.Parse(p.Document)
			if err != nil {
				s.unseen(arn, "its resource policy: "+err.Error(), f.Name)
				continue
			}
			for i := range doc {
				s.invoker(&f, arn, p.Name, &doc[i])
			}
		}
	}
}

// invoker judges who may call a function by one statement.
func (s *scope) invoker(f *snapshot.Function, arn, qualifier string, st *policydoc.Statement) {
	if !st.Allow || urlStatement(f, qualifier, st) {
		return
	}
	bounds, unknown := st.Bounds(), ""
	others := s.others(st.Principals)
	if bounds.Caller && (st.Open() || allServices(st.Principals)) {
		others = s.others(st.Named()) // they are bound; to whom?
	} else {
		unknown = policydoc.Unevaluated(bounds.Unknown)
	}
	cure := "aws lambda remove-permission --function-name " + f.Name + " --statement-id " + st.SID
	if qualifier != "" {
		cure += " --qualifier " + qualifier
	}
	switch may := " may " + strings.Join(slices.Concat(st.Actions, st.NotActions), ", ") + unknown; {
	case st.Open() && !bounds.Caller:
		s.add(finding.High, arn+" "+st.SID, "everybody"+may, cure, f.Name)
	case len(others) > 0:
		s.add(finding.Medium, arn+" "+st.SID, strings.Join(others, ", ")+may, cure, f.Name)
	}
}

// urlStatement reports whether a statement is what a URL without authentication needs:
// P09 says it of the URL, and without one it lets nobody in.
func urlStatement(f *snapshot.Function, qualifier string, st *policydoc.Statement) bool {
	_, auth, there := st.Has("lambda:functionurlauthtype")
	_, by, only := st.Has("lambda:invokedviafunctionurl")
	if !there && !only || only && !slices.Equal(by, []string{"true"}) {
		return false
	}
	iam := slices.Equal(auth, []string{"AWS_IAM"})
	return iam && !st.Open() || !iam && slices.ContainsFunc(f.URLs, func(u snapshot.URL) bool { return u.Qualifier == qualifier })
}

// allServices reports whether all principals are services of AWS.
func allServices(principals []string) bool {
	return len(principals) > 0 && !slices.ContainsFunc(principals, func(p string) bool { return !strings.HasPrefix(p, "service:") })
}

// others returns the principals that are not of the account: other accounts, and services
// that nothing binds to it.
func (s *scope) others(principals []string) (out []string) {
	for _, p := range principals {
		if !s.own(p) {
			out = append(out, p)
		}
	}
	return out
}

// own reports whether a principal is of the account itself.
func (s *scope) own(principal string) bool {
	if principal == s.snap.ID {
		return s.snap.ID != ""
	}
	part := strings.SplitN(principal, ":", 6)
	return len(part) == 6 && part[0] == "arn" && part[4] == s.snap.ID && s.snap.ID != ""
}

// carriers are the services that take data in for whatever account a caller names.
var carriers = []string{
	"s3", "dynamodb", "sqs", "sns", "kinesis-streams", "kinesis-firehose", "events", "lambda", "logs", "execute-api", "secretsmanager", "ssm",
	"states", "sts", "ecr.api", "ecr.dkr", "codecommit", "git-codecommit", "monitoring", "s3express", "elasticfilesystem", "athena", "glue", "kms",
}

// openEndpoints is P14.
func openEndpoints(s *scope) {
	functions := s.byVPC()
	for _, e := range s.region.Endpoints {
		if len(functions[e.VPC]) == 0 || e.Kind == "GatewayLoadBalancer" {
			continue
		}
		evidence := "it has no policy, which opens it"
		if e.Policy != "" {
			doc, err := policydoc.Parse(e.Policy)
			if err != nil {
				s.unseen(e.ID, "its policy: "+err.Error(), functions[e.VPC]...)
				continue
			}
			if evidence = policydoc.OpenStatement(doc); evidence == "" {
				continue
			}
		}
		severity := finding.Medium
		if !policydoc.CallersBound(e.Policy) && slices.ContainsFunc(carriers, func(name string) bool { return strings.HasSuffix(e.Service, "."+name) }) {
			severity = finding.High
		}
		s.add(severity, e.ID, e.Service+": "+evidence,
			"PolicyDocument of the endpoint: a Condition StringEquals with aws:PrincipalAccount and aws:ResourceAccount, both !Ref AWS::AccountId", functions[e.VPC]...)
	}
}

// policyBuckets is P18.
func policyBuckets(s *scope) {
	for _, b := range s.snap.Buckets {
		evidence := "it has no policy"
		if b.Policy != "" {
			doc, err := policydoc.Parse(b.Policy)
			if err != nil {
				s.unseen(b.Name, "its policy: "+err.Error())
				continue
			}
			if slices.ContainsFunc(doc, policydoc.BindsToEndpoint) {
				continue
			}
			evidence = "no statement denies reading and writing to whoever comes by another way than an endpoint (aws:SourceVpce)"
		}
		s.add(finding.Medium, b.Name, evidence, "in the bucket policy: Effect Deny, Principal '*', Action s3:*, Condition StringNotEquals aws:SourceVpce ENDPOINT")
	}
}
