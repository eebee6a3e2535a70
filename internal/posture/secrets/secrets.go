// Package secrets says of environment variables which ones look like a secret, and leaves
// their content out.
//
// What it does: it takes a name and a content, and gives back the name, the kind of secret
// that it looks like, and the address of a proxy where it names one.
//
// What it does not do: it does not find every secret. A random word in a variable of an
// ordinary name passes; a content that refers to a store of secrets is none.
package secrets

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/snapshot"
)

// accessKey is how the IDs of AWS's access keys look (IAM User Guide, "Unique identifiers").
var accessKey = regexp.MustCompile(`\b(AKIA|ASIA)[A-Z0-9]{16}\b`)

// names are what people call secrets, as the last word of a variable.
var names = regexp.MustCompile(`(?i)(^|_)(secret|token|password|passwd|passphrase|pwd|credentials?|api_?key|private_?key|secret_?key|secret_access_key|access_key|client_secret|auth)$`)

// elsewhere is the beginning of contents that refer to where a secret is kept, and whole
// contents that are none.
var elsewhere = regexp.MustCompile(`(?i)^(arn:|\{\{resolve:|ssm:|secretsmanager:|vault:|kms:|/|true$|false$|\d{1,4}$|none$|$)`)

// Var takes a variable apart.
func Var(name, content string) snapshot.Var {
	v := snapshot.Var{Name: name}
	u, err := url.Parse(content)
	isURL := err == nil && u.Host != ""
	if proxy := strings.ToUpper(name); isURL && strings.HasSuffix(proxy, "_PROXY") && proxy != "NO_PROXY" {
		v.Proxy = u.Scheme + "://" + u.Host
	}
	secret := false
	if isURL && u.User != nil {
		_, secret = u.User.Password()
	}
	switch {
	case accessKey.MatchString(content):
		v.Secret = "access_key"
	case strings.Contains(content, "PRIVATE KEY-----"):
		v.Secret = "private_key"
	case secret:
		v.Secret = "url"
	case names.MatchString(name) && !elsewhere.MatchString(content):
		v.Secret = "named"
	}
	return v
}
