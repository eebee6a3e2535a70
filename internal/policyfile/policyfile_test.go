package policyfile_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policyfile"
)

// policy allows one host to one function.
const policy = "version: 1\nfunctions: {f: {identify: {sources: [10.0.0.0/8]}, allow: [allowed.example]}}\n"

// bucket stands in for S3: objects by path. It must not be asked by a proxy.
type bucket struct {
	mu      sync.Mutex
	objects map[string]string
	asked   []string
}

func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, r.URL.Path)
	text, ok := b.objects[r.URL.Path]
	if !ok {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `<Error><Code>NoSuchKey</Code></Error>`)
		return
	}
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(text))))
	fmt.Fprint(w, text)
}

// newBucket starts one, and sets the SDK's variables so that it is asked.
func newBucket(t *testing.T, objects map[string]string) *bucket {
	t.Helper()
	b := &bucket{objects: objects}
	s := httptest.NewServer(b)
	t.Cleanup(s.Close)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_S3": s.URL, "AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_CONFIG_FILE": "/nowhere",
		"AWS_SHARED_CREDENTIALS_FILE": "/nowhere", "HTTP_PROXY": "http://127.0.0.1:1", "HTTPS_PROXY": "http://127.0.0.1:1",
	} {
		t.Setenv(name, value)
	}
	return b
}

// load returns the hosts of a policy's function, or the error.
func load(ctx context.Context, name, stdin string) string {
	cfg, err := policyfile.Load(ctx, name, strings.NewReader(stdin))
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(len(cfg.Functions), " ", cfg.Functions[0].Name)
}

func TestPolicyIsReadFromWhereverItIs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "egress.yaml")
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	main := "version: 1\ninclude: [{file: teams/a.yaml, functions: [\"f\"], owner: a, may: {ports: [443]}}]\n"
	part := "functions: {f: {identify: {sources: [10.0.0.0/8]}, allow: [allowed.example]}}\n"
	sum := func(path, text string) map[string]any {
		return map[string]any{"path": path, "size": len(text), "sha256": fmt.Sprintf("%x", sha256.Sum256([]byte(text)))}
	}
	manifest, err := json.Marshal(map[string]any{"version": 1, "main": "egress.yaml", "files": []any{sum("egress.yaml", main), sum("teams/a.yaml", part)}})
	if err != nil {
		t.Fatal(err)
	}
	b := newBucket(t, map[string]string{
		"/egress/egress.yaml": policy, "/egress/bad.yaml": "version: 7\n",
		"/egress/whole/manifest.json": string(manifest), "/egress/whole/egress.yaml": main, "/egress/whole/teams/a.yaml": part,
		"/egress/torn/manifest.json": string(manifest), "/egress/torn/egress.yaml": main, "/egress/torn/teams/a.yaml": part + "# changed\n",
		"/served.yaml": policy,
	})
	for name, want := range map[string]string{
		file: "1 f", "-": "1 f", "s3://egress/egress.yaml": "1 f", "s3://egress/whole/": "1 f", os.Getenv("AWS_ENDPOINT_URL_S3") + "/served.yaml": "1 f",
		"s3://egress/bad.yaml": "version", "s3://egress/missing.yaml": "there is no such object", "s3://egress/torn/": "teams/a.yaml",
		file + ".none": "no such file", "ftp://egress/egress.yaml": "begins with none of",
	} {
		if got := load(t.Context(), name, policy); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.asked) == 0 {
		t.Error("the bucket was not asked")
	}
}
