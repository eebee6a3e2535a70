package secrets

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/snapshot"
)

func TestSecretsAreToldFromWhatRefersToThem(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, content, want string }{
		{"DB_PASSWORD", "hunter2-hunter2", "named"}, {"db_password", "x9", "named"}, {"STRIPE_API_KEY", "sk_live_1", "named"}, {"CLIENT_SECRET", "abc", "named"},
		{"ANYTHING", "AKIAIOSFODNN7EXAMPLE", "access_key"}, {"PEM", "-----BEGIN RSA PRIVATE KEY-----\nMII", "private_key"},
		{"DATABASE_URL", "postgres://app:s3cret@db:5432/x", "url"}, {"HTTPS_PROXY", "http://f:tok@gate:3128", "url"},
		{"DB_PASSWORD", "arn:aws:secretsmanager:eu-west-1:1:secret:db", ""}, {"DB_PASSWORD", "{{resolve:ssm-secure:/db}}", ""}, {"DB_PASSWORD", "/prod/db/password", ""},
		{"DB_PASSWORD", "", ""}, {"USE_TOKEN", "true", ""}, {"SECRET_NAME", "prod-db", ""}, {"TOKEN_TTL", "3600", ""}, {"DATABASE_URL", "postgres://app@db/x", ""},
		{"HTTPS_PROXY", "http://gate:3128", ""}, {"TABLE", "orders", ""}, {"KEY_ID", "AKIAshort", ""}, {"MONKEY", "banana", ""},
	} {
		if got := Var(row.name, row.content); got.Secret != row.want || got.Name != row.name {
			t.Errorf("%s=%s is %q, want %q", row.name, row.content, got.Secret, row.want)
		}
	}
}

// What leaves the reader holds no content, whatever is in it.
func TestNoContentIsCarriedOn(t *testing.T) {
	t.Parallel()
	const needle = "n33dle"
	for _, content := range []string{needle, "http://u:" + needle + "@h:1/" + needle + "?q=" + needle + "#" + needle, "http://" + needle + ":x@h", "://" + needle, "postgres://a:" + needle + "@h"} {
		for _, name := range []string{"HTTPS_PROXY", "http_proxy", "DB_PASSWORD", "X"} {
			b, err := json.Marshal(Var(name, content))
			if err != nil || strings.Contains(string(b), needle) {
				t.Errorf("%s=%s leaves %s, %v", name, content, b, err)
			}
		}
	}
	if got := Var("HTTPS_PROXY", "https://f:tok@gate.internal:3129/"); got != (snapshot.Var{Name: "HTTPS_PROXY", Proxy: "https://gate.internal:3129", Secret: "url"}) {
		t.Errorf("%+v", got)
	}
}
