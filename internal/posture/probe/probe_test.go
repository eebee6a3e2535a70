package probe

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOutcomesMeanWhatTheyMayMean(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		way  Way
		o    Outcome
		want Class
	}{
		"nothing came back":              {Direct443, Outcome{}, Held},
		"the target answers":             {Direct443, Outcome{Connected: true, Answered: true, Match: true}, Open},
		"something else answers":         {Direct443, Outcome{Connected: true, Answered: true}, Captive},
		"a connection, and no more":      {Direct443, Outcome{Connected: true}, Connected},
		"no socket":                      {ICMP, Outcome{Untried: true}, NotTried},
		"a stranger's no came through":   {ResolverUDP, Outcome{Answered: true, Denied: true}, Captive},
		"the own resolver's no":          {OwnResolver, Outcome{Answered: true, Denied: true}, Held},
		"the proxy's no":                 {RefusedName, Outcome{Connected: true, Answered: true, Denied: true}, Held},
		"the proxy fails":                {RefusedName, Outcome{Connected: true}, Connected},
		"the proxy lets it through":      {RefusedName, Outcome{Connected: true, Answered: true, Match: true}, Open},
		"the control's answer":           {Control, Outcome{Connected: true, Answered: true, Match: true}, Works},
		"the control is refused":         {Control, Outcome{Connected: true, Answered: true, Denied: true}, Failed},
		"the control meets another":      {Control, Outcome{Connected: true, Answered: true}, Failed},
		"a way that the table has not":   {"other", Outcome{Connected: true, Answered: true, Match: true}, NotTried},
		"the control is not even tried":  {Control, Outcome{Untried: true, Match: true}, Failed},
		"the endpoint's no":              {Endpoint, Outcome{Connected: true, Answered: true, Denied: true}, Held},
		"the endpoint answers otherwise": {Endpoint, Outcome{Connected: true, Answered: true}, Captive},
	} {
		f := Judge(&Try{Way: row.way}, &row.o)
		if f.Class != row.want || (f.Hole != "") != (row.want == Open) || (f.Cure != "") != (row.want == Open) {
			t.Errorf("%s: %+v, want %s", name, f, row.want)
		}
	}
}

func TestVerdictNeedsAControlBeforeAndAfter(t *testing.T) {
	t.Parallel()
	works, broken := Finding{Try: Try{Way: Control}, Class: Works}, Finding{Try: Try{Way: Control}, Class: Failed}
	is := func(w Way, c Class) Finding { return Finding{Try: Try{Way: w}, Class: c} }
	for name, row := range map[string]struct {
		findings []Finding
		want     Verdict
	}{
		"holds":                         {[]Finding{works, is(NTP, Held), works}, Sound},
		"a hole":                        {[]Finding{works, is(NTP, Open), is(IPv6, Held), works}, Hole},
		"unclear":                       {[]Finding{works, is(NTP, Held), is(IPv6, Captive), works}, Unclear},
		"a hole goes before":            {[]Finding{works, is(NTP, Open), is(IPv6, Connected), works}, Hole},
		"the control fails":             {[]Finding{broken}, Unknown},
		"the control fails at the end":  {[]Finding{works, is(NTP, Held), broken}, Unknown},
		"a hole, then the control ends": {[]Finding{works, is(NTP, Open), broken}, Hole},
		"a hole without a control":      {[]Finding{broken, is(NTP, Open), works}, Unknown},
		"no control at the end":         {[]Finding{works, is(NTP, Held)}, Unknown},
		"the control alone":             {[]Finding{works, works}, Unknown},
		"nothing could be tried":        {[]Finding{works, is(ICMP, NotTried), works}, Unknown},
		"nothing":                       {nil, Unknown},
	} {
		if r := Conclude(time.Time{}, row.findings, nil, nil); r.Verdict != row.want || r.Headline == "" {
			t.Errorf("%s: %+v, want %s", name, r, row.want)
		}
	}
	known := Conclude(time.Time{}, []Finding{works, is(IPv6, Captive), is(ICMP, NotTried), works}, []Way{Endpoint}, []Way{IPv6})
	if known.Verdict != Sound || !slices.Equal(known.Untried, []Way{Endpoint, ICMP}) || !strings.Contains(known.Headline, "not tried: 2") {
		t.Errorf("%+v", known)
	}
}

func TestSettingsReplaceTheDefaultsOfTheirWay(t *testing.T) {
	t.Parallel()
	of := Targets{}
	for _, s := range []string{"ntp=192.0.2.1:123", "ntp=192.0.2.2:123", "ipv6=", "resolver-udp=192.0.2.1:53#a.test=192.0.2.7", "endpoint=https://bucket.test/x#192.0.2.9:443"} {
		if err := of.Add(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	tries, err := Plan("allowed.test:443", of)
	if err != nil || tries[0].Way != Control || tries[0].Expect != "allowed.test" {
		t.Fatalf("%v %+v", err, tries)
	}
	found := map[Way]int{}
	for _, try := range tries {
		found[try.Way]++
		switch {
		case try.Way == ResolverUDP && (try.Question != "a.test" || try.Expect != "192.0.2.7"),
			try.Way == Endpoint && try.Address != "192.0.2.9:443",
			(try.Way == NoCredential || try.Way == OtherCredential) && try.Target != "allowed.test:443",
			try.Method == 0:
			t.Errorf("%+v", try)
		}
	}
	if found[NTP] != 2 || found[Direct443] != 2 || !slices.Equal(Untried(tries), []Way{IPv6}) {
		t.Errorf("%v, not tried %v", found, Untried(tries))
	}
}

func TestSettingsThatAreWrongAreToldOf(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "ntp", "other=192.0.2.1:1", "control=a:1", "ntp=name.test:123", "direct-443=192.0.2.1:443", "icmp=192.0.2.1:1", "refused-name=name", "refused-name=name:0",
		"refused-name=a b:443", "endpoint=http://bucket.test/", "endpoint=https://user@bucket.test/", "endpoint=https://bucket.test/#x", "resolver-tcp=192.0.2.1:53", "resolver-tcp=192.0.2.1:53#a.test=b",
	} {
		if err := (Targets{}).Add(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
	for _, control := range []string{"", "name", "name:x", ":443", "a\r\nX: y:443"} {
		if _, err := Plan(control, nil); err == nil {
			t.Errorf("the control %q was taken", control)
		}
	}
}
