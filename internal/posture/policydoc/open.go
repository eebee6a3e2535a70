package policydoc

import (
	"fmt"
	"slices"
	"strings"
)

// Services returns the services that a resource policy lets call.
func Services(document string) (out []string) {
	doc, err := Parse(document)
	if err != nil {
		return nil // whoever judges it says so
	}
	for _, statement := range doc {
		for _, p := range statement.Principals {
			if name, ok := strings.CutPrefix(p, "service:"); ok && statement.Allow {
				out = append(out, name)
			}
		}
	}
	return out
}

// OpenStatement says of an endpoint's policy which statement opens it to other accounts'
// resources, "" for none. Naming resources bounds where data may go, and so does a
// condition about whose they are. One about the caller does not: a function takes its own
// credentials to somebody else's bucket.
func OpenStatement(doc []Statement) string {
	for i := range doc {
		st := &doc[i]
		if b := st.Bounds(); st.Allow && !b.Target && openResource(st) && !(b.Caller && tokensAlone(st)) {
			evidence := fmt.Sprintf("statement %q lets %s be done with every resource", st.SID, strings.Join(slices.Concat(st.Actions, st.NotActions), ", "))
			if b.Caller {
				evidence += ", by bound callers"
			}
			return evidence + Unevaluated(b.Unknown)
		}
	}
	return ""
}

// tokensAlone reports whether a statement is about tokens of STS alone: they have no
// resource, so that nothing could say whose it is, and go to whoever has asked.
func tokensAlone(st *Statement) bool {
	return len(st.Actions) > 0 && !slices.ContainsFunc(st.Actions, func(a string) bool { return !strings.EqualFold(a, "sts:GetWebIdentityToken") })
}

// CallersBound reports whether each open statement of a policy bounds its callers, so that
// nobody brings foreign credentials at least.
func CallersBound(document string) bool {
	doc, err := Parse(document)
	return err == nil && !slices.ContainsFunc(doc, func(st Statement) bool {
		b := st.Bounds()
		return st.Allow && !b.Target && !b.Caller && openResource(&st)
	})
}

// openResource reports whether a statement is about resources of any account: all of
// them, or ARNs with a star where the account or the bucket stands.
func openResource(st *Statement) bool {
	if st.Anywhere() || len(st.Excepted) > 0 {
		return true
	}
	return slices.ContainsFunc(st.Resources, func(arn string) bool {
		part := strings.SplitN(arn, ":", 6)
		if len(part) < 6 {
			return strings.ContainsAny(arn, "*?")
		}
		if part[4] == "" { // S3: the bucket names the account
			return strings.HasPrefix(part[5], "*") || strings.HasPrefix(part[5], "?")
		}
		return strings.ContainsAny(part[4], "*?")
	})
}

// Unevaluated writes which conditions were not evaluated.
func Unevaluated(unknown []string) string {
	if len(unknown) == 0 {
		return ""
	}
	return " (not evaluated, taken as met by anybody: " + strings.Join(unknown, ", ") + ")"
}

// BindsToEndpoint reports whether a statement denies everybody what does not come through
// an endpoint or VPC. Those that it excepts are named by their ARNs; any other condition
// may except everybody, and then the statement binds nothing.
func BindsToEndpoint(st Statement) bool {
	if st.Allow || st.Other || !st.Open() || !st.Covers("s3:PutObject") || !st.Covers("s3:GetObject") {
		return false
	}
	excepted := func(c Condition) bool {
		return c.Key == "aws:principalarn" && !slices.ContainsFunc(c.Values, everyRole)
	}
	way := func(c Condition) bool {
		return (c.Key == "aws:sourcevpce" || c.Key == "aws:sourcevpc") && !slices.Contains(c.Values, "*")
	}
	return slices.ContainsFunc(st.Conditions, way) && !slices.ContainsFunc(st.Conditions, func(c Condition) bool {
		return !slices.Contains(unequal, strings.ToLower(c.Operator)) || !way(c) && !excepted(c)
	})
}

// unequal are the operators of a denial that lets by what is written beside a key.
var unequal = []string{"stringnotequals", "stringnotequalsifexists", "stringnotlike", "arnnotequals", "arnnotlike"}

// everyRole reports whether the pattern of an ARN covers every role of its account, by
// one that nobody would name.
func everyRole(pattern string) bool {
	owner := "000000000000"
	if part := strings.SplitN(pattern, ":", 6); len(part) == 6 && !strings.ContainsAny(part[4], "*?") {
		owner = part[4]
	}
	return Match(pattern, "arn:aws:iam::"+owner+":role/one-that-nobody-has-made")
}
