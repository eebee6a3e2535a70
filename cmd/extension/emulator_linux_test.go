package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// Runtimes of one handler, which speak the Runtime API. The first line of each uses the
// extension; each invocation does again. None has a line for a proxy.
const (
	pythonBootstrap = `
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
	nodeBootstrap = `
const http = require('http'), https = require('https');
const get = (host) => new Promise((done) => https.get('https://' + host + '/', (r) => {
  let text = ''; r.on('data', (d) => text += d); r.on('end', () => done(text));
}).on('error', (e) => done(e.message)));
const ask = async () => ({ 'allowed.test': await get('allowed.test'), 'refused.test': await get('refused.test') });
const api = 'http://' + process.env.AWS_LAMBDA_RUNTIME_API + '/2018-06-01/runtime/invocation/';
const call = (path, method, body) => new Promise((done, fail) => http.request(api + path, { method }, (r) => {
  r.resume(); r.on('end', () => done(r.headers['lambda-runtime-aws-request-id']));
}).on('error', fail).end(body));
(async () => {
  const first = await ask();
  for (;;) await call(await call('next', 'GET') + '/response', 'POST', JSON.stringify({ first, now: await ask() }));
})();
`
	javaBootstrap = `
import java.io.*; import java.net.*; import java.nio.charset.StandardCharsets;
public class Bootstrap {
  static String get(String host) {
    try { return new String(new URL("https://" + host + "/").openStream().readAllBytes(), StandardCharsets.UTF_8); }
    catch (IOException e) { return e.getMessage(); }
  }
  static String quote(String s) { return '"' + s.replace("\\", "\\\\").replace("\"", "\\\"") + '"'; }
  static String ask() { return "{\"allowed.test\":" + quote(get("allowed.test")) + ",\"refused.test\":" + quote(get("refused.test")) + "}"; }
  public static void main(String[] arguments) throws Exception {
    String first = ask(), api = "http://" + System.getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/";
    for (;;) {
      URLConnection next = new URL(api + "next").openConnection();
      next.getInputStream().readAllBytes();
      URLConnection reply = new URL(api + next.getHeaderField("Lambda-Runtime-Aws-Request-Id") + "/response").openConnection();
      reply.setDoOutput(true);
      reply.getOutputStream().write(("{\"first\":" + first + ",\"now\":" + ask() + "}").getBytes(StandardCharsets.UTF_8));
      reply.getInputStream().readAllBytes();
    }
  }
}
`
	goBootstrap = `package main
import ("bytes"; "encoding/json"; "io"; "net/http"; "os")
func get(host string) string {
	r, err := http.Get("https://" + host + "/")
	if err != nil { return err.Error() }
	b, _ := io.ReadAll(r.Body)
	return string(b)
}
func ask() map[string]string { return map[string]string{"allowed.test": get("allowed.test"), "refused.test": get("refused.test")} }
func main() {
	first, api := ask(), "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"
	for {
		next, err := http.Get(api + "next")
		if err != nil { panic(err) }
		said, _ := json.Marshal(map[string]any{"first": first, "now": ask()})
		reply, err := http.Post(api + next.Header.Get("Lambda-Runtime-Aws-Request-Id") + "/response", "application/json", bytes.NewReader(said))
		if err != nil { panic(err) }
		_, _ = io.Copy(io.Discard, reply.Body)
	}
}
`
)

// AWS's own emulator starts the extension and the runtime as Lambda does: the extension
// registers, then the runtime's first line runs. It looks for extensions in /opt, which is
// a folder of the test in a mount namespace of its own.
func TestExtensionUnderTheEmulatorOfAWS(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("aws-lambda-rie"); err != nil {
		t.Skip("aws-lambda-rie is not installed: go install github.com/aws/aws-lambda-runtime-interface-emulator/cmd/aws-lambda-rie@latest")
	}
	needs(t, "unshare", "--mount", "true")
	s := newSite(t)
	opt := s.layer()
	for _, tt := range []struct {
		name    string
		needs   []string
		command func(t *testing.T) []string
	}{
		{"Python", []string{"python3", "--version"}, func(*testing.T) []string { return []string{"python3", s.write("bootstrap.py", pythonBootstrap)} }},
		{"Node", []string{"node", "--version"}, func(*testing.T) []string { return []string{"node", s.write("bootstrap.cjs", nodeBootstrap)} }},
		{"Java", []string{"javac", "-version"}, func(t *testing.T) []string {
			if out, err := exec.Command("javac", "-d", s.dir, s.write("Bootstrap.java", javaBootstrap)).CombinedOutput(); err != nil {
				t.Fatalf("javac: %v: %s", err, out)
			}
			return append(s.trusting(t), "-cp", s.dir, "Bootstrap")
		}},
		{"Go", []string{"go", "version"}, func(t *testing.T) []string { return []string{s.built(t, "bootstrap", goBootstrap)} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			needs(t, tt.needs...)
			s.emulate(t, opt, tt.command(t))
		})
	}
}

// layer makes a folder of what the layer has, with the extension, and returns its path.
func (s *site) layer() string {
	s.t.Helper()
	opt := filepath.Join(s.dir, "opt")
	for _, dir := range []string{"extensions", "egress"} {
		if err := os.MkdirAll(filepath.Join(opt, dir), 0o755); err != nil {
			s.t.Fatal(err)
		}
	}
	for from, to := range map[string]string{"../../deploy/lambda/wrapper": "egress/wrapper", "../../deploy/lambda/node.cjs": "egress/node.cjs"} {
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(opt, to), text, 0o755)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	if out, err := exec.Command("go", "build", "-o", filepath.Join(opt, "extensions", "egress"), ".").CombinedOutput(); err != nil {
		s.t.Fatalf("building the extension: %v: %s", err, out)
	}
	return opt
}

// emulate has the emulator run a runtime's command with the layer, invokes the function, and
// looks at what it says of both hosts.
func (s *site) emulate(t *testing.T, opt string, command []string) {
	t.Helper()
	address := freePort(t)
	cmd := exec.Command("unshare", append([]string{"--mount", "sh", "-c", `mount --bind "$0" /opt && exec "$@"`, opt,
		"aws-lambda-rie", "--runtime-interface-emulator-address", address, "--runtime-api-address", freePort(t), "/opt/egress/wrapper"}, command...)...)
	log := &egresstest.Buffer{}
	cmd.Env, cmd.Stdout, cmd.Stderr = append(slices.Clone(s.env), s.extension...), log, log
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
	var said struct{ First, Now map[string]string }
	if err := json.Unmarshal([]byte(answer), &said); err != nil {
		t.Fatalf("the function says %s; log %s", answer, log)
	}
	for when, hosts := range map[string]map[string]string{"its first line": said.First, "an invocation": said.Now} {
		if !strings.Contains(hosts["allowed.test"], "from-the-origin") || !strings.Contains(hosts["refused.test"], "host_not_allowed refused.test") {
			t.Errorf("%s: got %q; log %s", when, hosts, log)
		}
	}
}
