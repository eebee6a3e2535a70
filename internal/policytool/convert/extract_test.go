package convert_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert"
)

func TestWhatIsExtractedHasTheFileAndLineThatItStandsIn(t *testing.T) {
	files := map[string]string{
		"dir/teams/pay.yaml": "sets:\n  s: [b.example, .c.example]\nfunctions:\n  pay-one:\n    identify: {sources: [10.0.0.0/24]}\n    allow:\n      - a.example\n      - set: s\n      - {host: d.example, expires: 2999-01-31}\n",
	}
	const main = "version: 1\ndeny: [evil.example]\ninclude:\n  - {file: teams/pay.yaml, functions: [\"pay-*\"], may: {ports: [443], wildcards: true}}\n"
	cfg, err := config.Parse("dir/egress.yaml", []byte(main), func(path string) ([]byte, error) { return []byte(files[path]), nil })
	if err != nil {
		t.Fatal(err)
	}
	e := convert.Extract(cfg, "dir/egress.yaml", "pay-one")
	var got []string
	for _, r := range e.Rules {
		got = append(got, fmt.Sprintf("%s:%d: %s %s", r.At.File, r.At.Line, r.Key, r.Pattern))
	}
	want := []string{
		"dir/teams/pay.yaml:7: functions.pay-one.allow[0] a.example",
		"dir/teams/pay.yaml:8: functions.pay-one.allow[1] b.example",
		"dir/teams/pay.yaml:8: functions.pay-one.allow[1] .c.example",
		"dir/teams/pay.yaml:9: functions.pay-one.allow[2] d.example",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") || fmt.Sprint(e.Deny) != "[evil.example]" || e.At.Line != 4 {
		t.Errorf("%s\n%+v", strings.Join(got, "\n"), e)
	}
	if err := convert.Errors(e); err == nil || err.Error() != "dir/teams/pay.yaml:9: functions.pay-one.allow[2]: the rule ends on a day, which only a policy says; convert without it" {
		t.Error(err)
	}
	none := convert.Extract(cfg, "dir/egress.yaml", "pay-two")
	if err := convert.Errors(none, e); err == nil || !strings.Contains(err.Error(), `dir/egress.yaml:1: functions: there is no function "pay-two"`) || len(none.Rules) > 0 {
		t.Error(err)
	}
}
