package deploy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/probe"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/probe/result"
)

// What the probe says holds for where it stands: in the functions' network, with no way of
// its own.
func TestTheProbeStandsWhereTheFunctionsDo(t *testing.T) {
	t.Parallel()
	s := deployed(t, "probe.yaml", nil)
	sample := deployed(t, "function.yaml", nil).Resources
	s.Resources["Function"].want(t, sample["Function"].Properties["VpcConfig"], "VpcConfig")
	// Its role may do what that of any function may, and nothing more.
	for _, with := range []settings{nil, attested, {"KmsKeyArn": "arn:aws:kms:eu-west-1:111122223333:key/1"}} {
		got := text(t, deployed(t, "probe.yaml", with).Resources["Role"].Properties)
		if want := text(t, deployed(t, "function.yaml", with).Resources["Role"].Properties); got != want {
			t.Errorf("%v: the role of the probe is\n%s\nof a function\n%s", with, got, want)
		}
	}
	for name, r := range s.Resources {
		if strings.HasPrefix(r.Type, "AWS::EC2::") {
			t.Errorf("probe.yaml makes %s, a %s", name, r.Type)
		}
	}
}

// The program reads the variables that the template sets: docs/posture.md has them all, as a
// test of the program sees to.
func TestTheProbeIsToldByVariablesThatItReads(t *testing.T) {
	t.Parallel()
	page := read(t, "../docs/posture.md")
	of := func(given settings) map[string]any {
		v, _ := at(deployed(t, "probe.yaml", given).Resources["Function"].Properties, "Environment", "Variables").(map[string]any)
		return v
	}
	token := of(settings{"Targets": "ipv6= ntp=192.0.2.1:123", "Intercepted": "direct-443"})
	for name := range token {
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("docs/posture.md has no %s", name)
		}
	}
	for name, want := range map[string]string{
		"PROBE_TARGET": "ipv6= ntp=192.0.2.1:123", "PROBE_INTERCEPTED": "direct-443", "PROBE_CONTROL": "allowed.example:443", "PROBE_DEPLOYMENT": "gate-of-eu",
		"HTTPS_PROXY": "http://fence-probe:{{resolve:secretsmanager:" + required["TokenSecretArn"] + ":SecretString:::" + required["TokenVersion"] + "}}@proxy.internal:3128",
	} {
		if token[name] != want {
			t.Errorf("%s is %v, want %s", name, token[name], want)
		}
	}
	for _, format := range strings.Split(fmt.Sprint(token["PROBE_FORMAT"]), ",") {
		if !slices.Contains(result.Formats(), format) {
			t.Errorf("the probe has no format %s", format)
		}
	}
	// The extension adds a token to whatever it is given, so the gate itself has to be asked
	// without one.
	attested := of(attested)
	if attested["HTTPS_PROXY"] != "http://127.0.0.1:3128" || attested["PROBE_GATE"] != "http://proxy.internal:3128" || attested["EGRESS_PROXY"] != "https://proxy.internal:3129" {
		t.Errorf("with the layer: %v", attested)
	}
}

// The alarms watch what the program writes, once in each period.
func TestAlarmsOfTheProbeWatchWhatItWrites(t *testing.T) {
	t.Parallel()
	var line bytes.Buffer
	if err := result.Write(&line, &probe.Report{Made: time.Now(), Verdict: probe.Sound}, result.EMF, &result.About{Deployment: "gate-of-eu"}); err != nil {
		t.Fatal(err)
	}
	var written map[string]any
	if err := json.Unmarshal(line.Bytes(), &written); err != nil {
		t.Fatal(err)
	}
	directive := at(written, "_aws", "CloudWatchMetrics", 0)
	for minutes, seconds := range map[string]int{"5": 300, "15": 900, "30": 1800, "60": 3600} {
		s := deployed(t, "probe.yaml", settings{"Minutes": minutes})
		s.Resources["Schedule"].want(t, "rate("+minutes+" minutes)", "ScheduleExpression")
		for name, missing := range map[string]string{"FenceAlarm": "notBreaching", "ProbeAlarm": "breaching"} {
			alarm := s.Resources[name]
			alarm.want(t, seconds, "Period")
			alarm.want(t, missing, "TreatMissingData")
			alarm.want(t, at(directive, "Namespace"), "Namespace")
			dimensions, _ := alarm.Properties["Dimensions"].([]any)
			for i, d := range dimensions {
				if at(d, "Name") != at(directive, "Dimensions", 0, i) || at(d, "Value") != written[fmt.Sprint(at(d, "Name"))] {
					t.Errorf("%s has the dimension %v, the program writes %v", name, d, directive)
				}
			}
			if metric := fmt.Sprint(alarm.Properties["MetricName"]); len(dimensions) != 1 || written[metric] == nil {
				t.Errorf("%s watches %s with %v, the program writes %s", name, metric, dimensions, line.String())
			}
		}
	}
	if n := len(templates(t)["probe.yaml"].Parameters["Minutes"].AllowedValues); n != 4 {
		t.Errorf("Minutes has %d values, of which 4 are tried", n)
	}
}

// Who invokes the probe is its own schedule alone.
func TestTheScheduleAloneInvokesTheProbe(t *testing.T) {
	t.Parallel()
	s := templates(t)["probe.yaml"]
	s.Resources["Schedule"].want(t, map[string]any{"Fn::GetAtt": "Function.Arn"}, "Targets", 0, "Arn")
	for name, r := range s.Resources {
		if r.Type == "AWS::Lambda::Permission" {
			r.want(t, map[string]any{"Fn::GetAtt": "Schedule.Arn"}, "SourceArn")
			r.want(t, "events.amazonaws.com", "Principal")
		} else if r.Type == "AWS::Lambda::Url" {
			t.Errorf("%s lets anybody in", name)
		}
	}
}
