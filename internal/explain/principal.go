package explain

import (
	"fmt"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/attest"
)

// mapPrincipal finds the function that the principal of a verified token maps to, and
// sets Function; "" where it is nobody. It returns the line that says so. An error is
// about the query: what is no ARN, or of another function than the one that is named.
func (q *Query) mapPrincipal() (line string, err error) {
	a, ok := attest.ParseARN(q.Principal)
	if !ok {
		return "", fmt.Errorf("--principal: %q is not the ARN of a Lambda function or a role; write one without version or alias", q.Principal)
	}
	_, table, err := q.Config.Compile()
	if err != nil {
		return "", err
	}
	p := &attest.Principal{ARN: q.Principal, Account: a.Account}
	if !a.Function {
		p.Role = q.Principal
	}
	if trust := q.Config.AWS; trust != nil {
		for _, of := range trust.Accounts {
			if of.ID == a.Account {
				p.Issuer = of.Issuer
			}
		}
	}
	if p.Issuer == "" {
		return nobody(q, fmt.Sprintf("%s is of account %s, which is not under aws.accounts", q.Principal, a.Account))
	}
	name, ok := table.FunctionOf(p)
	switch {
	case !ok:
		return nobody(q, q.Principal+" maps to no function, or is denied")
	case q.Function != "" && q.Function != name:
		return "", fmt.Errorf("--principal: %s is %s, not %s; leave --function out", q.Principal, name, q.Function)
	}
	q.Function = name
	return fmt.Sprintf("%s is identified as %s", q.Principal, name), nil
}

// nobody has the query be about no function, for the reason that it returns.
func nobody(q *Query, why string) (string, error) {
	q.Function = ""
	return why, nil
}
