//go:build !aws

package main

import (
	"strings"
	"testing"
)

func TestAProgramWithoutClientsOfAWSSaysHowToBuildOneThatHasThem(t *testing.T) {
	for _, args := range [][]string{{"--regions", "eu-west-1"}, {"--from", snapshotFile(t), "--policy", "s3://egress/egress.yaml"}} {
		code, stdout, stderr := posture(t, args...)
		if code != exitFailed || stdout != "" || !strings.Contains(stderr, "-tags aws") {
			t.Errorf("%q: exit code %d, %q, %q", args, code, stdout, stderr)
		}
	}
}
