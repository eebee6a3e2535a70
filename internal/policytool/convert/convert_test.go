package convert_test

import (
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// small is a policy of one function.
func small(t *testing.T) *convert.Policy {
	t.Helper()
	p, err := hostname.ParsePattern("*.example.org")
	if err != nil {
		t.Fatal(err)
	}
	at := yamlread.Position{File: "list", Line: 7}
	return &convert.Policy{Deny: []hostname.Pattern{p}, Functions: []convert.Function{{
		At: at, Key: "services[0]", Name: "billing", Owner: "12", Allow: []convert.Rule{{Pattern: p}, {Pattern: p, Ports: hostname.Ports(80), TLSAny: true}},
	}}}
}

func TestAPolicyIsWrittenIntoTheFileOfCallersAndItsCommentsStay(t *testing.T) {
	callers := "version: 1 # ours\naudit: {on_failure: count}\nfunctions:\n  # pays\n  billing: {identify: {sources: [10.0.0.0/24]}}\n"
	got, err := convert.Assemble(small(t), convert.Callers{Name: "callers", Data: []byte(callers)}, nil)
	want := `version: 1 # ours
audit: {on_failure: count}
deny:
  - "*.example.org"
functions:
  # pays
  billing:
    identify: {sources: [10.0.0.0/24]}
    owner: "12"
    allow:
      - "*.example.org"
      - {host: "*.example.org", ports: [80], tls: any}
`
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s", err, got)
	}
}

func TestWhatTheFileOfCallersLacksOrHasTooMuchIsAProblem(t *testing.T) {
	const identify = "identify: {sources: [10.0.0.0/24]}"
	for callers, want := range map[string]string{
		"version: 1":                           "list:7: services[0]: nobody says who calls as billing",
		"version: 1\nfunctions: {billing: {}}": "list:7: services[0]: nobody says who calls as billing",
		"version: 1\nfunctions: []":            "callers:2: functions: it is no mapping",
		"[1]":                                  "callers:1: file: it is no mapping",
		"":                                     "callers:1: file: it is empty",
		"version: 1\nfunctions:\n  billing: {" + identify + ", allow: [evil.example]}":           "callers:3: functions.billing: it has more than identify",
		"version: 1\ndeny: [a.example]\nfunctions:\n  billing: {" + identify + "}":               "callers:2: deny: the deny list is that of the converted file",
		"version: 1\nfunctions:\n  billing: {" + identify + "}\n  other: {" + identify + "}":     "callers:4: functions.other: the converted file has no caller of this name",
		"version: 1\nfunctions:\n  billing: {" + identify + "}\nlimtis: {}":                      "limtis: no such key",
		"version: 1\nfunctions:\n  billing: {" + identify + "}\nfunctions:\n  billing: {}":       "functions",
		"version: 1\nfunctions:\n  billing: {" + identify + "}\n  billing: {allow: [a.example]}": "billing",
	} {
		got, err := convert.Assemble(small(t), convert.Callers{Name: "callers", Data: []byte(callers)}, nil)
		if got != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v; want %q", callers, got, err, want)
		}
	}
}
