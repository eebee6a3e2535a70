//go:build !aws

package main

import (
	"strings"
	"testing"
)

func TestAProgramWithoutClientsOfAWSSaysHowToBuildOneThatHasThem(t *testing.T) {
	code, stdout, stderr := posture(t, "--regions", "eu-west-1")
	if code == 0 || stdout != "" || !strings.Contains(stderr, "-tags aws") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}
