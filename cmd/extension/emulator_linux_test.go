package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// bootstrap is a runtime of one handler, which speaks the Runtime API. Its first line uses
// the extension; each invocation does again.
const bootstrap = `
import json, os, urllib.request
def ask():
    said = {}
    for host in ("allowed.test", "refused.test"):
        try: said[host] = urllib.request.urlopen("https://%s/" % host, timeout=20).read().decode()
        except OSError as e: said[host] = str(e)
    return said
first = ask()
api = "http://%s/2018-06-01/runtime/invocation/" % os.environ["AWS_LAMBDA_RUNTIME_API"]
while True:
    with urllib.request.urlopen(api + "next") as event: number = event.headers["Lambda-Runtime-Aws-Request-Id"]
    said = json.dumps({"first": first, "now": ask()}).encode()
    urllib.request.urlopen(api + number + "/response", data=said).read()
`

// AWS's own emulator starts the extension and the runtime as Lambda does: the extension
// registers, then the runtime's first line runs. It looks for extensions in /opt, which is
// a folder of the test in a mount namespace of its own.
func TestExtensionUnderTheEmulatorOfAWS(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("aws-lambda-rie"); err != nil {
		t.Skip("aws-lambda-rie is not installed: go install github.com/aws/aws-lambda-runtime-interface-emulator/cmd/aws-lambda-rie@latest")
	}
	needs(t, "python3", "--version")
	needs(t, "unshare", "--mount", "true")
	s := newSite(t)
	opt := filepath.Join(s.dir, "opt")
	for _, dir := range []string{"extensions", "egress"} {
		if err := os.MkdirAll(filepath.Join(opt, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{"../../deploy/lambda/wrapper": "egress/wrapper", "../../deploy/lambda/node.cjs": "egress/node.cjs"} {
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(opt, to), text, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("go", "build", "-o", filepath.Join(opt, "extensions", "egress"), ".").CombinedOutput(); err != nil {
		t.Fatalf("building the extension: %v: %s", err, out)
	}
	address := freePort(t)
	cmd := exec.Command("unshare", "--mount", "sh", "-c", `mount --bind "$0" /opt && exec "$@"`, opt,
		"aws-lambda-rie", "--runtime-interface-emulator-address", address, "--runtime-api-address", freePort(t), "/opt/egress/wrapper", "python3", s.write("bootstrap.py", bootstrap))
	log := &egresstest.Buffer{}
	cmd.Env, cmd.Stdout, cmd.Stderr = append(s.env, s.extension...), log, log
	cmd.Env = append(cmd.Env, "EGRESS_LISTEN="+freePort(t), "AWS_LAMBDA_FUNCTION_TIMEOUT=60", "PATH="+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // the emulator and all that it has started
		_ = cmd.Wait()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	})
	var answer string
	egresstest.Eventually(t, "the function answers", func() bool {
		r, err := http.Post("http://"+address+"/2015-03-31/functions/function/invocations", "application/json", strings.NewReader("{}"))
		if err != nil {
			return false
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		answer = string(body)
		return err == nil
	})
	for _, want := range []string{"first", "now"} {
		if _, part, _ := strings.Cut(answer, fmt.Sprintf("%q: {", want)); !strings.Contains(strings.SplitN(part, "}", 2)[0], "from-the-origin") ||
			!strings.Contains(strings.SplitN(part, "}", 2)[0], "host_not_allowed refused.test") {
			t.Errorf("%s: the function says %s; log %s", want, answer, log)
		}
	}
}
