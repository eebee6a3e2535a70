package main

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// store is something that speaks S3 and has a bucket "egress".
type store interface {
	put(key, text string)
	remove(key string)
	endpoint() string
}

// bucket is a store of this process. It gives out credentials too, as the agent
// of a task does, and lets only those in that it gave out last.
type bucket struct {
	server *httptest.Server

	mu      sync.Mutex
	objects map[string]string
	key     string // access key that is let in
	denied  bool
	hangs   bool // it begins an answer and does not end it

	asked, unchanged, hanging atomic.Int64
}

func newBucket(t testing.TB) *bucket {
	t.Helper()
	b := &bucket{objects: map[string]string{}, key: "AKIDFIRST"}
	b.server = httptest.NewServer(b)
	t.Cleanup(b.server.Close)
	return b
}

func (b *bucket) endpoint() string     { return b.server.URL }
func (b *bucket) put(key, text string) { b.set(func() { b.objects[key] = text }) }
func (b *bucket) remove(key string)    { b.set(func() { delete(b.objects, key) }) }
func (b *bucket) set(change func())    { b.mu.Lock(); defer b.mu.Unlock(); change() }
func etag(text string) string          { return fmt.Sprintf(`"%x"`, md5.Sum([]byte(text))) }
func lets(key string, r *http.Request) bool {
	return strings.Contains(r.Header.Get("Authorization"), "Credential="+key+"/") &&
		r.Header.Get("X-Amz-Security-Token") == "token of "+key
}

func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	key, denied, hangs := b.key, b.denied, b.hangs
	text, ok := b.objects[strings.TrimPrefix(r.URL.Path, "/egress/")]
	b.mu.Unlock()
	if r.URL.Path == "/credentials" {
		// They have ended already, so that the SDK asks for new ones each time.
		fmt.Fprintf(w, `{"AccessKeyId":%q,"SecretAccessKey":"hush","Token":%q,"Expiration":%q}`,
			key, "token of "+key, time.Now().Add(-time.Minute).UTC().Format(time.RFC3339))
		return
	}
	b.asked.Add(1)
	switch {
	case hangs:
		_ = http.NewResponseController(w).Flush()
		b.hanging.Add(1)
		<-r.Context().Done()
	case denied || !lets(key, r):
		s3Error(w, http.StatusForbidden, "AccessDenied")
	case !ok:
		s3Error(w, http.StatusNotFound, "NoSuchKey")
	case r.Header.Get("If-None-Match") == etag(text):
		b.unchanged.Add(1)
		w.WriteHeader(http.StatusNotModified)
	default:
		w.Header().Set("ETag", etag(text))
		_, _ = io.WriteString(w, text)
	}
}

// s3Error answers as S3 does.
func s3Error(w http.ResponseWriter, status int, code string) {
	w.Header().Set("X-Amz-Request-Id", fmt.Sprint(time.Now().UnixNano()))
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>no</Message></Error>`, code)
}

// moto is a store that others wrote: moto_server of the Python package moto.
type moto struct {
	t   testing.TB
	url string
}

// newMoto starts moto_server, or skips where it is not installed.
func newMoto(t testing.TB) *moto {
	t.Helper()
	path, err := exec.LookPath("moto_server")
	if err == nil {
		err = exec.Command(path, "--help").Run()
	}
	if err != nil {
		t.Skipf("moto_server does not run here: %v", err)
	}
	at := ownAddress(t, 1).String()
	m := &moto{t: t, url: "http://" + at + ":5000"}
	cmd := exec.Command(path, "-H", at, "-p", "5000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for end := time.Now().Add(5 * patience); ; time.Sleep(50 * time.Millisecond) { // Python takes its time to start
		if resp, err := direct.Get(m.url + "/moto-api/"); err == nil {
			_ = resp.Body.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal("moto_server does not answer")
		}
	}
	m.do(http.MethodPut, "/egress", "")
	return m
}

func (m *moto) endpoint() string     { return m.url }
func (m *moto) put(key, text string) { m.do(http.MethodPut, "/egress/"+key, text) }
func (m *moto) remove(key string)    { m.do(http.MethodDelete, "/egress/"+key, "") }

// do makes one request, with a signature that moto takes for one.
func (m *moto) do(method, path, body string) {
	m.t.Helper()
	req, err := http.NewRequest(method, m.url+path, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0")
	resp, err := direct.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		m.t.Fatalf("%s %s: %s", method, path, resp.Status)
	}
}

// object is the policy in the bucket.
const object = "policies/egress.yaml"

// s3Environment is that of a task: a region, and where its credentials are.
func s3Environment(of store) []string {
	return []string{
		"AWS_REGION=eu-west-1", "AWS_ENDPOINT_URL_S3=" + of.endpoint(), "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
		// A proxy of the environment's would be the program itself.
		"HTTPS_PROXY=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1",
	}
}

// startS3 runs the program with the policy of a store; env adds to
// s3Environment.
func (w *world) startS3(of store, env ...string) *running {
	w.t.Helper()
	return w.startFile(w.t.TempDir(), []string{"run", "--config-poll", "1s", "--config", "s3://egress/" + object},
		append(s3Environment(of), env...)...)
}

// startBucket is startS3 with the credentials that the bucket gives out.
func (w *world) startBucket(b *bucket) *running {
	w.t.Helper()
	return w.startS3(b, "AWS_CONTAINER_CREDENTIALS_FULL_URI="+b.server.URL+"/credentials")
}

// reloads counts the records of reloads, good and bad.
func (p *running) reloads() (good, bad int) { return len(p.of("reloaded")), len(p.of("reload_failed")) }

// becomes waits until the policy in force lets billing reach one of two hosts.
func (p *running) becomes(what, allowed, refused string) {
	p.t.Helper()
	p.world.eventually(what, func() bool { return p.allows(allowed) })
	if p.allows(refused) {
		p.t.Errorf("%s: %s is allowed too", what, refused)
	}
}

const gaugeOfReloads = "egress_config_last_reload_successful"

// s3Life takes a policy in S3 through a change, a bad change, its loss and its
// return. Nobody sends a signal.
func s3Life(w *world, of store, p *running) {
	t := w.t
	t.Helper()
	p.becomes("the first policy is in force", "before.test", "after.test")
	of.put(object, w.fill(only("after.test")))
	p.becomes("a change is in force", "after.test", "before.test")

	for i, bad := range []struct {
		name   string
		change func()
		want   string
	}{
		{"with mistakes", func() { of.put(object, broken) }, "s3://egress/" + object + ":5: functions.billing.alow: no such key"},
		{"that is empty", func() { of.put(object, "") }, "s3://egress/" + object + ":1: file: "},
		{"that is gone", func() { of.remove(object) }, "reading s3://egress/" + object + ": there is no such object"},
	} {
		bad.change()
		w.eventually("a policy "+bad.name+" is recorded", func() bool { _, n := p.reloads(); return n > i })
		failed := p.of("reload_failed")
		if len(failed) != i+1 || !strings.Contains(failed[i].Detail, bad.want) {
			t.Errorf("a policy %s: %d records, the last %q, want %q", bad.name, len(failed), failed[len(failed)-1].Detail, bad.want)
		}
		if got := p.metric(gaugeOfReloads); got != "0" {
			t.Errorf("a policy %s: %s is %s", bad.name, gaugeOfReloads, got)
		}
		if !p.allows("after.test") || p.allows("before.test") {
			t.Errorf("a policy %s: the old one is not in force", bad.name)
		}
	}
	good, _ := p.reloads()
	of.put(object, w.fill(only("before.test")))
	w.eventually("the policy is back", func() bool { n, _ := p.reloads(); return n > good })
	p.becomes("the policy is back", "before.test", "after.test")
	if got := p.metric(gaugeOfReloads); got != "1" {
		t.Errorf("a good policy: %s is %s", gaugeOfReloads, got)
	}
}

func TestPolicyInS3IsFollowedAndTheLastGoodOneIsKept(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	b := newBucket(t)
	b.put(object, w.fill(only("before.test")))
	s3Life(w, b, w.startBucket(b))
	w.eventually("the object is asked for by its ETag", func() bool { return b.unchanged.Load() > 0 })
}

func TestPolicyInMotoIsFollowedAndTheLastGoodOneIsKept(t *testing.T) {
	t.Parallel()
	m := newMoto(t)
	w := newEchoWorld(t)
	m.put(object, w.fill(only("before.test")))
	s3Life(w, m, w.startS3(m, "AWS_ACCESS_KEY_ID=AKID", "AWS_SECRET_ACCESS_KEY=hush"))
}

func TestFailureOfS3ThatStaysIsRecordedOnce(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	b := newBucket(t)
	b.put(object, w.fill(only("before.test")))
	p := w.startBucket(b)
	b.set(func() { b.denied = true })
	w.eventually("the denial is recorded", func() bool { _, n := p.reloads(); return n > 0 })
	if detail := p.one("reload_failed").Detail; !strings.Contains(detail, "access denied") || !strings.Contains(detail, object) {
		t.Errorf("the record says %q", detail)
	}
	seen := b.asked.Load()
	w.eventually("four more polls", func() bool { return b.asked.Load() >= seen+4 })
	if good, bad := p.reloads(); good != 0 || bad != 1 || !p.allows("before.test") {
		t.Errorf("%d reloads and %d failures, want 0 and 1", good, bad)
	}
	// The policy is the same as before, but now it is known to be the newest.
	b.set(func() { b.denied = false })
	w.eventually("the end of the denial is recorded", func() bool { good, _ := p.reloads(); return good == 1 })
	if got := p.metric(gaugeOfReloads); got != "1" {
		t.Errorf("%s is %s", gaugeOfReloads, got)
	}
}

func TestCredentialsOfTheTaskCanRotate(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	b := newBucket(t)
	b.put(object, w.fill(only("before.test")))
	p := w.startBucket(b)
	b.set(func() { b.key = "AKIDSECOND" })
	b.put(object, w.fill(only("after.test")))
	p.becomes("a change behind new credentials", "after.test", "before.test")
	if _, bad := p.reloads(); bad != 0 {
		t.Errorf("%d reloads failed", bad)
	}
	for _, secret := range []string{"AKIDFIRST", "AKIDSECOND", "hush", "token of"} {
		if strings.Contains(p.read(p.stderr), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
}

func TestSlowS3HoldsUpNeitherRequestsNorTheEnd(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	b := newBucket(t)
	b.put(object, w.fill(only("before.test")))
	p := w.startBucket(b)
	b.set(func() { b.hangs = true })
	p.signal(syscall.SIGHUP)
	w.eventually("an answer hangs", func() bool { return b.hanging.Load() > 0 })
	if !p.allows("before.test") {
		t.Error("a request is refused")
	}
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	// To wait for the answer would end in a failure.
	if good, bad := p.reloads(); good != 0 || bad != 0 {
		t.Errorf("%d reloads and %d failures are recorded", good, bad)
	}
}

func TestFilesOfAPolicyInS3AreObjectsBesideIt(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	b := newBucket(t)
	policy := strings.Replace(only("x"), "host: x", "set: names", 1)
	policy = strings.Replace(policy, ", addresses: [127.0.0.0/8]", "", 1)
	policy = strings.Replace(policy, "functions:", "sets: {names: {file: lists/names.txt}}\nfunctions:", 1)
	b.put(object, w.fill(policy))
	b.put("policies/lists/names.txt", "before.test\n")
	p := w.startBucket(b)
	// The set's names lead to loopback, which this rule does not open: the
	// reason reports whether the name is in the set.
	reasons := func() string {
		var all []string
		for _, host := range []string{"before.test", "after.test"} {
			all = append(all, p.connect("billing", host+":"+w.vars["echo"]).reason())
		}
		return strings.Join(all, " ")
	}
	if got := reasons(); got != "address_not_allowed host_not_allowed" {
		t.Errorf("at the start: %s", got)
	}
	b.put("policies/lists/names.txt", "after.test\n")
	w.eventually("a change of the set is in force", func() bool { return reasons() == "host_not_allowed address_not_allowed" })
	b.put("policies/lists/names.txt", "*.com\n")
	w.eventually("a bad set is recorded", func() bool { return len(p.of("reload_failed")) == 1 })
	if detail := p.one("reload_failed").Detail; !strings.Contains(detail, "egress/policies/lists/names.txt:1: ") {
		t.Errorf("the record says %q", detail)
	}
}

func TestPolicyOfAnHTTPServerIsFollowed(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	var text atomic.Value
	text.Store(w.fill(only("before.test")))
	// As the agent of AppConfig: plain HTTP on loopback.
	agent := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/applications/egress/environments/production/configurations/policy" {
			rw.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(rw, text.Load().(string))
	}))
	t.Cleanup(agent.Close)
	p := w.startFile(t.TempDir(), []string{
		"run", "--config-poll", "1s", "--config", agent.URL + "/applications/egress/environments/production/configurations/policy",
	})
	p.becomes("the first policy is in force", "before.test", "after.test")
	text.Store(w.fill(only("after.test")))
	p.becomes("a change is in force", "after.test", "before.test")
}

func TestProgramDoesNotStartWithoutAPolicy(t *testing.T) {
	t.Parallel()
	b := newBucket(t)
	b.put("broken.yaml", broken)
	b.put("names.yaml", strings.Replace(broken, "functions:", "sets: {names: {file: ../names.txt}}\nfunctions:", 1))
	b.put("large.yaml", string(bytes.Repeat([]byte("#"), 64<<20+1)))
	env := append(s3Environment(b), "AWS_CONTAINER_CREDENTIALS_FULL_URI="+b.server.URL+"/credentials", exitAtOnce)
	for name, want := range map[string]string{
		"s3://egress/broken.yaml":             "s3://egress/broken.yaml:5: functions.billing.alow: ",
		"s3://egress/names.yaml":              "outside of the folder of the configuration",
		"s3://egress/large.yaml":              "larger than 64 MiB",
		"s3://egress/missing.yaml":            "there is no such object",
		"s3://egress":                         "write s3://bucket/key",
		"http://config.example/egress.yaml":   "plain http is read from loopback alone",
		b.server.URL + "/egress/denied.yaml":  "access denied",
		"gopher://config.example/egress.yaml": "begins with none of",
	} {
		cmd := exec.Command("proxy", "run", "--config", name)
		cmd.Env = append(cmd.Environ(), env...)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if code := exitCode(cmd.Run()); code != 1 || !strings.Contains(stderr.String(), want) || stdout.Len() != 0 {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q, want %q", name, code, &stdout, &stderr, want)
		}
	}
}
