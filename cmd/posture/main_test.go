package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/acceptance"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/checks"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/output"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/snapshot"
)

// asPosture makes the test binary the program.
const asPosture = "TEST_AS_POSTURE"

func TestMain(m *testing.M) {
	if os.Getenv(asPosture) != "" {
		main()
	}
	os.Exit(m.Run())
}

// posture runs a command line in this process.
func posture(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = execute(t.Context(), args, &out, &err)
	return code, out.String(), err.String()
}

// snapshotFile writes a snapshot with one function outside of every VPC.
func snapshotFile(t *testing.T) string {
	t.Helper()
	set := &snapshot.Set{Format: snapshot.Format, Made: "2026-01-31T00:00:00Z", Snapshots: []snapshot.Snapshot{{
		ID: "111122223333", Regions: []snapshot.Region{{Name: "eu-west-1", Functions: []snapshot.Function{{ARN: "arn:aws:lambda:eu-west-1:111122223333:function:f", Name: "f", Role: "r"}}}},
		Roles: []snapshot.Role{{ARN: "r"}},
	}}}
	name := filepath.Join(t.TempDir(), "snapshot.json")
	if err := save(name, set.Write); err != nil {
		t.Fatal(err)
	}
	return name
}

// file writes a file.
func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestFailOnIsThreeUnlessItIsAccepted(t *testing.T) {
	t.Parallel()
	from := snapshotFile(t)
	accepted := file(t, `accept: [{finding: P01, resource: "arn:*", owner: a, reason: b, until: 9999-01-01}]`)
	ended := file(t, `accept: [{finding: P01, resource: "arn:*", owner: a, reason: b, until: 2020-01-01}]`)
	for _, row := range []struct {
		args []string
		want int
	}{
		{nil, exitOK}, {[]string{"--fail-on", "high"}, exitFound}, {[]string{"--fail-on", "low"}, exitFound}, {[]string{"--fail-on", "high", "--accept", accepted}, exitOK},
		{[]string{"--fail-on", "high", "--accept", ended}, exitFound}, {[]string{"--accept", file(t, "accept: [{}]")}, exitFailed},
		{[]string{"--accept", "/nowhere.yaml"}, exitFailed}, {[]string{"--policy", file(t, "version: 7\n")}, exitFailed},
		{[]string{"--fail-on", "dreadful"}, exitUsage}, {[]string{"--format", "pdf"}, exitUsage}, {[]string{"--regions", "eu-west-1"}, exitUsage}, {[]string{"--min-free", "0"}, exitUsage},
		{[]string{"extra"}, exitUsage}, {[]string{"--nonsense"}, exitUsage},
	} {
		code, stdout, stderr := posture(t, append([]string{"--from", from}, row.args...)...)
		if code != row.want || (code == exitFailed || code == exitUsage) != (stdout == "") || (stdout == "") == (stderr == "") {
			t.Errorf("%q ends with %d, want %d\n%s\n%s", row.args, code, row.want, stdout, stderr)
		}
	}
	if code, _, stderr := posture(t, "--from", file(t, "{}")); code != exitFailed || !strings.Contains(stderr, "snapshot") {
		t.Errorf("%d %s", code, stderr)
	}
}

func TestTheReportGoesToAFileForItsOwnerAlone(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "posture.html")
	code, stdout, stderr := posture(t, "--from", snapshotFile(t), "--format", "html", "--output", name)
	info, err := os.Stat(name)
	if code != exitOK || stdout != "" || stderr != "" || err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%d %s %s %v %v", code, stdout, stderr, info, err)
	}
	page, err := os.ReadFile(name)
	if err != nil || !strings.Contains(string(page), "0 of 1 functions are behind the gate") {
		t.Errorf("%v %s", err, page)
	}
}

func TestIAMPolicyPrintsWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	_, plain, _ := posture(t, "iam-policy")
	_, more, _ := posture(t, "iam-policy", "--bucket", "b", "--assume-role", "arn:aws:iam::1:role/r")
	_, folder, _ := posture(t, "iam-policy", "--policy", "s3://b/policies/egress.yaml", "--policy", "s3://c/egress.yaml")
	if !strings.Contains(folder, `"s3:GetObject"`) || !strings.Contains(folder, `"arn:aws:s3:::b/policies/*"`) || !strings.Contains(folder, `"arn:aws:s3:::c/*"`) || strings.Contains(folder, "s3:GetBucketPolicy") {
		t.Errorf("%s", folder)
	}
	if code, _, stderr := posture(t, "iam-policy", "--policy", "egress.yaml"); code != exitFailed || !strings.Contains(stderr, "s3://bucket/key") {
		t.Errorf("%d %s", code, stderr)
	}
	if strings.Contains(plain, "s3:") || strings.Contains(plain, "sts:") || !strings.Contains(plain, "lambda:ListFunctions") ||
		!strings.Contains(more, "arn:aws:s3:::b") || !strings.Contains(more, "arn:aws:iam::1:role/r") {
		t.Errorf("%s\n%s", plain, more)
	}
}

// The page has the checks, the flags and the formats of the program, and no others.
func TestThePageIsTheProgram(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/posture.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	rest := page
	for _, c := range checks.List() {
		row := "\n| " + c.ID + " | " + c.Title + " | " + c.Consequence + " | "
		_, after, ok := strings.Cut(rest, row)
		if !ok {
			t.Errorf("docs/posture.md does not have, in its order:%s", row)
			continue
		}
		rest = after
	}
	if n := strings.Count(page, "\n| P"); n != len(checks.List()) {
		t.Errorf("docs/posture.md has %d checks, the program %d", n, len(checks.List()))
	}
	_, help, _ := posture(t, "--help")
	_, probe, _ := posture(t, "probe", "--help")
	flag := regexp.MustCompile(`(?m)^ +(?:-\w, )?(--[a-z-]+)`)
	listed := regexp.MustCompile("(?m)^\\| `(--[a-z-]+)")
	var want, got []string
	for _, m := range flag.FindAllStringSubmatch(help+probe, -1) {
		if m[1] != "--help" && m[1] != "--version" {
			want = append(want, m[1])
		}
	}
	for _, m := range listed.FindAllStringSubmatch(page, -1) {
		got = append(got, m[1])
	}
	slices.Sort(want)
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("docs/posture.md has the flags\n%q\nthe program\n%q", got, want)
	}
	for _, m := range flag.FindAllStringSubmatch(probe, -1) {
		variable := "`PROBE_" + strings.ToUpper(strings.ReplaceAll(strings.TrimPrefix(m[1], "--"), "-", "_")) + "`"
		if isProxy := m[1] == "--proxy" || m[1] == "--help"; strings.Contains(page, variable) == isProxy {
			t.Errorf("docs/posture.md on %s: %t", variable, isProxy)
		}
	}
	_, example, _ := strings.Cut(page, "```yaml accept\n")
	example, _, _ = strings.Cut(example, "```")
	if lines, err := acceptance.Parse("docs/posture.md", []byte(example)); err != nil || len(lines) != 1 {
		t.Errorf("the example of what is accepted: %v, %+v", err, lines)
	}
	for _, f := range output.Formats() {
		if !strings.Contains(page, "`"+f+"`") {
			t.Errorf("docs/posture.md does not name the format %s", f)
		}
	}
}
