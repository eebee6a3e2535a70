package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// teamFile is where the file of a team lies, below the folder of the policy.
const teamFile = "teams/billing.yaml"

// upload is a folder of a policy with a team's file, for which `proxy manifest` has written
// the manifest.
type upload map[string]string

// newUpload makes a policy by which billing may reach that host.
func (w *world) newUpload(host string) upload {
	w.t.Helper()
	folder := w.t.TempDir()
	w.must(os.Mkdir(filepath.Join(folder, "teams"), 0o755))
	u := upload{
		"egress.yaml": w.fill(head + "include:\n  - {file: " + teamFile + ", functions: [billing], may: {ports: [1-65535], tls_any: true, addresses: true, plain_http: true}}\n"),
		teamFile:      w.fill(strings.TrimPrefix(only(host), head)),
	}
	for path, text := range u {
		w.must(os.WriteFile(filepath.Join(folder, path), []byte(text), 0o600))
	}
	var out bytes.Buffer
	if code := execute(w.t.Context(), []string{"manifest", folder}, &out, &out); code != exitOK || out.String() != "ok: the manifest names 2 files\n" {
		w.t.Fatalf("exit code %d, %s", code, &out)
	}
	data, err := os.ReadFile(filepath.Join(folder, "manifest.json"))
	w.must(err)
	u["manifest.json"] = string(data)
	return u
}

// put uploads these files of it.
func (u upload) put(b *bucket, paths ...string) {
	for _, path := range paths {
		b.put("policies/"+path, u[path])
	}
}

func TestHalfWrittenUploadIsNoPolicy(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	b := newBucket(t)
	w.newUpload("before.test").put(b, "egress.yaml", teamFile, "manifest.json")
	p := w.startFile(t.TempDir(), []string{"run", "--config-poll", "1s", "--config", "s3://egress/policies/"},
		append(s3Environment(b), "AWS_CONTAINER_CREDENTIALS_FULL_URI="+b.server.URL+"/credentials")...)
	p.becomes("the first policy is in force", "before.test", "after.test")

	next := w.newUpload("after.test")
	next.put(b, "egress.yaml", teamFile)
	p.signal(syscall.SIGHUP)
	w.eventually("a half-written upload is recorded", func() bool { _, n := p.reloads(); return n == 1 })
	detail := p.one("reload_failed").Detail
	for _, want := range []string{"s3://egress/policies/egress.yaml:", teamFile + " has SHA-256 ", "upload all files, and manifest.json last"} {
		if !strings.Contains(detail, want) {
			t.Errorf("the record says %q, want %q", detail, want)
		}
	}
	if !p.allows("before.test") || p.allows("after.test") {
		t.Error("the old policy is not in force")
	}

	next.put(b, "manifest.json")
	w.eventually("the manifest is seen", func() bool { n, _ := p.reloads(); return n > 0 })
	p.becomes("the whole upload is in force", "after.test", "before.test")
	if got := p.metric(gaugeOfReloads); got != "1" {
		t.Errorf("%s is %s", gaugeOfReloads, got)
	}
}

// run and check refuse the same, and say what to do.
func TestFilesOfTeamsInS3NeedAManifest(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	b := newBucket(t)
	u := w.newUpload("before.test")
	u.put(b, "egress.yaml", teamFile, "manifest.json")
	env := append(s3Environment(b), "AWS_CONTAINER_CREDENTIALS_FULL_URI="+b.server.URL+"/credentials", exitAtOnce)
	call := func(args ...string) (string, int) {
		ctx, cancel := context.WithTimeout(t.Context(), patience) // run serves where it should refuse
		defer cancel()
		cmd := exec.CommandContext(ctx, "proxy", args...)
		cmd.Env = append(cmd.Environ(), env...)
		out, err := cmd.CombinedOutput()
		return string(out), exitCode(err)
	}
	if out, code := call("check", "s3://egress/policies/"); out != "ok: 1 functions, 1 rules\n" || code != exitOK {
		t.Errorf("exit code %d, %s", code, out)
	}
	refused := func(name string, says ...string) {
		for _, command := range [][]string{{"check"}, {"run", "--config"}} {
			out, code := call(append(command, name)...)
			for _, want := range says {
				if code != exitFailed || !strings.Contains(out, want) {
					t.Errorf("%s %s: exit code %d, %s, want %q", command, name, code, out, want)
				}
			}
		}
	}
	refused("s3://egress/policies/egress.yaml", "s3://egress/policies/egress.yaml:4: include: ", "load s3://BUCKET/PREFIX/")
	b.remove("policies/manifest.json")
	refused("s3://egress/policies/", "there is no such object", "proxy manifest")
}
