package main

import (
	"strings"
	"testing"
)

func TestProbeSaysWhatIsWrongWithItsFlagsAndNotTheCredential(t *testing.T) {
	t.Setenv(proxyVariable, "socks://fn:secret@gate.test:1080")
	good := []string{"probe", "--control", "allowed.test:443", "--proxy", "http://127.0.0.1:1"}
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"probe", "--control", "allowed.test:443"}, "--proxy"},
		{[]string{"probe", "--control", "allowed.test:443", "--proxy", "http://fn:secret@gate.test:port"}, "--proxy"},
		{[]string{"probe", "--proxy", "http://127.0.0.1:1"}, "--control"},
		{append(good, "--gate", "127.0.0.1:3128"), "--gate"},
		{append(good, "--gate", "http://fn:secret@127.0.0.1:3128"), "--gate"},
		{append(good, "--target", "dns=192.0.2.1:53"), "--target"},
		{append(good, "--intercepted", "443"), "--intercepted"},
		{append(good, "--fail-on", "high"), "--fail-on"},
		{append(good, "--format", "text,html"), "--format"},
		{append(good, "--timeout", "0s"), "--timeout"},
		{append(good, "--timeout", "2h"), "--timeout"},
		{append(good, "--deployment", "grün"), "--deployment"},
		{append(good, "more"), "more"},
	} {
		code, stdout, stderr := posture(t, row.args...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, row.want) || strings.Contains(stderr, "secret") {
			t.Errorf("%q: exit %d %q", row.args, code, stderr)
		}
	}
}
