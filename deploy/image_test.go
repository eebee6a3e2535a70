//go:build linux

package deploy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

const (
	maxImageBinary = 30 << 20
	imageUser      = 65532
	certificates   = "etc/ssl/certs/ca-certificates.crt"
)

// buildAsTheImage builds the program by the very line of the Dockerfile. That compiles
// everything anew, the standard library too, so it is done where it is asked for.
func buildAsTheImage(t *testing.T, root string) {
	t.Helper()
	if os.Getenv("DEPLOY_IMAGE") == "" {
		t.Skip("DEPLOY_IMAGE is not set; deploy/check.sh sets it")
	}
	line := regexp.MustCompile(`(?m)^RUN (CGO_ENABLED=0 .* go build .*)$`).FindStringSubmatch(read(t, "../Dockerfile"))
	if line == nil {
		t.Fatal("the Dockerfile builds nothing")
	}
	command := strings.Replace(line[1], "/image/proxy", filepath.Join(root, "proxy"), 1)
	if exec.Command("git", "-C", "..", "rev-parse", "HEAD").Run() != nil {
		t.Log("no git checkout: built without the commit")
		command = strings.Replace(command, "-buildvcs=true", "-buildvcs=false", 1)
	}
	c := exec.Command("sh", "-c", command)
	c.Dir = ".."
	c.Env = append(os.Environ(), "TARGETOS=linux", "TARGETARCH="+runtime.GOARCH, "VERSION=v1.2.3")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

// layout makes the root of the image: the binary, and the certificates where there are
// some, all of it owned by the image's user, so that nothing but the mount keeps it from being written.
func layout(t *testing.T) string {
	t.Helper()
	root, err := os.MkdirTemp("", "image") // t.TempDir is not open to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	buildAsTheImage(t, root)
	if pem, err := os.ReadFile("/" + certificates); err == nil {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(root, certificates)), 0o755))
		must(t, os.WriteFile(filepath.Join(root, certificates), pem, 0o644))
	}
	must(t, os.Chmod(root, 0o755))
	return root
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// inImage returns a command of the image: chrooted into its read-only root, as its user,
// without an environment of ours; it is killed when ctx ends.
func inImage(ctx context.Context, root string, args ...string) *exec.Cmd {
	const script = `mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && root="$1" && shift &&
		exec chroot --userspec=65532:65532 "$root" /proxy "$@"`
	c := exec.CommandContext(ctx, "unshare", append([]string{"--mount", "sh", "-c", script, "sh", root}, args...)...)
	c.Env = []string{"PATH=" + os.Getenv("PATH")}
	return c
}

// imagePolicy is the sample policy, with a token that is known, for a client on this machine.
func imagePolicy(t *testing.T, token string) []byte {
	t.Helper()
	var doc map[string]any
	must(t, yaml.Unmarshal([]byte(read(t, "ecs/egress.yaml")), &doc))
	doc["listen"] = map[string]any{"proxy": "127.0.0.1:0", "admin": "127.0.0.1:0"}
	digest := sha256.Sum256([]byte(token))
	function := doc["functions"].(map[string]any)["sample-function"].(map[string]any)
	function["identify"] = map[string]any{"tokens": []string{"sha256:" + hex.EncodeToString(digest[:])}, "sources": []string{"127.0.0.0/8"}}
	// A host and a port of this machine, so that nobody else is asked or called.
	function["allow"] = []any{map[string]any{"host": "localhost", "ports": []int{1}}}
	doc["dns"] = map[string]any{"upstreams": []string{"127.0.0.1:1"}}
	b, err := yaml.Marshal(doc)
	must(t, err)
	return b
}

func TestBinaryOfTheImageIsStaticStampedAndSmall(t *testing.T) {
	root := layout(t)
	out, err := exec.Command(filepath.Join(root, "proxy"), "version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "proxy v1.2.3 commit ") {
		t.Errorf("version: %v, %s", err, out)
	}
	if strings.Contains(string(out), "commit unknown") && exec.Command("git", "-C", "..", "rev-parse", "HEAD").Run() == nil {
		t.Errorf("the commit is not stamped: %s", out)
	}
	b, err := os.ReadFile(filepath.Join(root, "proxy"))
	must(t, err)
	if len(b) > maxImageBinary {
		t.Errorf("the binary has %d bytes, over %d", len(b), maxImageBinary)
	}
	if bytes.Contains(b, []byte("/ld-linux")) || bytes.Contains(b, []byte("/ld-musl")) {
		t.Error("the binary wants a loader, which the image does not have")
	}
	if wd, _ := os.Getwd(); bytes.Contains(b, []byte(filepath.Dir(wd)+"/")) {
		t.Error("the binary holds the path it was built in")
	}
	pem, err := os.ReadFile(filepath.Join(root, certificates))
	if err != nil {
		t.Skipf("this machine has no /%s to put into the layout", certificates)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		t.Errorf("/%s holds no certificates", certificates)
	}
}

func TestImageRunsWithAReadOnlyRootAsItsUser(t *testing.T) {
	if os.Getuid() != 0 || exec.Command("unshare", "--mount", "true").Run() != nil {
		t.Skip("a root of its own needs root and mount namespaces")
	}
	root := layout(t)
	must(t, os.WriteFile(filepath.Join(root, "egress.yaml"), imagePolicy(t, "sesame"), 0o644))
	must(t, os.WriteFile(filepath.Join(root, "writes.yaml"), bytes.Replace(imagePolicy(t, "sesame"), []byte("output: stdout"), []byte("output: /records.jsonl"), 1), 0o644))
	must(t, filepath.Walk(root, func(name string, _ os.FileInfo, err error) error {
		must(t, err)
		return os.Chown(name, imageUser, imageUser)
	}))

	// Were the root writable, it would serve and never end.
	short, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := inImage(short, root, "run", "--config", "/writes.yaml").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "read-only file system") {
		t.Fatalf("writing into the root: %v, %s", err, out)
	}

	var records bytes.Buffer
	server := inImage(t.Context(), root, "run", "--config", "/egress.yaml")
	server.Stdout = &records
	stderr, err := server.StderrPipe()
	must(t, err)
	must(t, server.Start())
	defer func() { _ = server.Process.Kill() }()
	proxy, admin := listening(t, stderr)

	status := read(t, fmt.Sprintf("/proc/%d/status", server.Process.Pid))
	for _, want := range []string{"\nUid:\t65532\t65532\t65532\t65532\n", "\nCapEff:\t0000000000000000\n"} {
		if !strings.Contains(status, want) {
			t.Errorf("the process has not %q", strings.TrimSpace(want))
		}
	}
	for deadline := time.Now().Add(30 * time.Second); ; { // one that a busy machine makes slow gives up
		out, err := inImage(t.Context(), root, "healthcheck", "--admin", admin).CombinedOutput()
		if err == nil && string(out) == "ready\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("healthcheck: %v, %s", err, out)
		}
	}
	callFromTheSample(t, proxy)

	must(t, server.Process.Signal(syscall.SIGTERM))
	if err := server.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	said := records.String()
	for _, want := range []string{`"event":"started"`, `"event":"stopped"`} {
		if !strings.Contains(said, want) {
			t.Errorf("no record has %s:\n%s", want, said)
		}
	}
}

// listening reads where the program listens from its log, and reads on so that it never
// waits for a reader.
func listening(t *testing.T, log interface{ Read([]byte) (int, error) }) (proxy, admin string) {
	t.Helper()
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		var line struct{ Msg, Proxy, Admin, Error string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
			go func() {
				for lines.Scan() {
				}
			}()
			return line.Proxy, line.Admin
		}
		t.Logf("%s", lines.Text())
	}
	t.Fatal("the program does not serve")
	return "", ""
}

// callFromTheSample runs the code of the sample function against the proxy, with the
// variables that function.yaml sets.
func callFromTheSample(t *testing.T, proxy string) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Log("the sample function is not tried: no python3")
		return
	}
	function := templates(t)["function.yaml"].Resources["Function"]
	code := at(function.Properties, "Code", "ZipFile").(string)
	if len(code) > 4096 {
		t.Errorf("the code has %d characters, CloudFormation takes 4096", len(code))
	}
	c := exec.Command(python, "-c", code+"\nhandler(None, None)\n")
	c.WaitDelay = time.Minute
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "ALLOWED_URL=https://localhost:1/", "REFUSED_URL=https://example.com/"}
	for name, value := range at(function.Properties, "Environment", "Variables").(map[string]any) {
		if url, ok := at(value, "Fn::If", 2, "Fn::Sub").(string); ok {
			url = regexp.MustCompile(`\{\{resolve:.*\}\}@.*$`).ReplaceAllString(url, "sesame@"+proxy)
			c.Env = append(c.Env, name+"="+strings.ReplaceAll(url, "${PolicyName}", "sample-function"))
		}
	}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("the sample function: %v\n%s", err, out)
	}
	var said map[string]string
	if err := json.Unmarshal(bytes.ReplaceAll(out, []byte(`"runtime api": null`), []byte(`"runtime api": ""`)), &said); err != nil {
		t.Fatalf("the sample function printed %s", out)
	}
	if !strings.Contains(said["refused"], "403 Egress refused: host_not_allowed example.com for sample-function") {
		t.Errorf("refused: %s", said["refused"])
	}
	// The policy lets it through; the image has no hosts file, so it does not resolve.
	if !strings.Contains(said["allowed"], "dns_") {
		t.Errorf("allowed: %s", said["allowed"])
	}
	if said["past the proxy"] == "" || strings.Contains(said["past the proxy"], "Egress") {
		t.Errorf("past the proxy: %s", said["past the proxy"])
	}
}
