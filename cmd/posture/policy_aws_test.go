//go:build aws

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The gate's policy is read where the gate reads it, and what differs from the account is
// found.
func TestPolicyIsReadFromS3(t *testing.T) {
	policy := "version: 1\nfunctions: {other: {identify: {sources: [10.0.0.0/8]}, allow: [a.example]}}\n"
	s3 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/egress/egress.yaml" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprint(w, policy)
	}))
	defer s3.Close()
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_S3": s3.URL, "AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
	} {
		t.Setenv(name, value)
	}
	code, stdout, stderr := posture(t, "--from", snapshotFile(t), "--policy", "s3://egress/egress.yaml")
	if code != exitOK || !strings.Contains(stdout, "functions.other") {
		t.Errorf("exit code %d: %s %s", code, stdout, stderr)
	}
	if code, stdout, stderr := posture(t, "--from", snapshotFile(t), "--policy", "s3://egress/missing.yaml"); code != exitFailed || stdout != "" || !strings.Contains(stderr, "there is no such object") {
		t.Errorf("exit code %d: %s %s", code, stdout, stderr)
	}
}
