//go:build aws

package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/output"
)

// functionsInMoto is how many functions the account has.
const functionsInMoto = 600

// serveMoto starts a script of testdata that serves an account, and returns the line that it
// prints. Without Python, moto and boto3 the test is skipped.
func serveMoto(t *testing.T, script string, args ...string) string {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	if out, err := exec.Command(python, "-c", "import boto3, moto.server, requests").CombinedOutput(); err != nil {
		t.Skipf("moto's server is not installed (pip install 'moto[server]' boto3): %s", out[max(0, len(out)-200):])
	}
	cmd := exec.CommandContext(t.Context(), python, append([]string{"testdata/" + script}, args...)...)
	cmd.Env = append(os.Environ(), "AWS_ENDPOINT_URL=", "MOTO_ALLOW_NONEXISTENT_REGION=", "PYTHONDONTWRITEBYTECODE=1")
	var failure strings.Builder
	cmd.Stderr = &failure
	stdin, err := cmd.StdinPipe() // its end ends the server
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		_ = cmd.Wait()
		t.Fatalf("the account was not made: %v\n%s", err, failure.String())
	}
	return strings.TrimSpace(line)
}

// atMoto returns the command that reads the account at a port of moto, and no other.
func atMoto(t *testing.T, port string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{"--regions", "eu-west-1", "--format", "json"}, args...)...)
	cmd.Env = append(os.Environ(), asPosture+"=1", "AWS_ENDPOINT_URL=http://127.0.0.1:"+port, "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x", "AWS_REGION=eu-west-1", "AWS_CONFIG_FILE=/nowhere", "AWS_SHARED_CREDENTIALS_FILE=/nowhere")
	return cmd
}

// policyOfMoto writes a policy with an entry for each function of the account but p19, and
// one for a function that is not there. One of the two that share an interface is known by
// its address alone.
func policyOfMoto(t *testing.T, names []string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("version: 1\nfunctions:\n")
	for _, name := range append(slices.Clone(names), "gone") {
		switch name {
		case "p19":
		case "p08":
			fmt.Fprintf(&b, "  %s: {identify: {sources: [10.0.1.0/27]}, allow: []}\n", name)
		default:
			fmt.Fprintf(&b, "  %s: {identify: {tokens: [\"sha256:%x\"]}, allow: []}\n", name, sha256.Sum256([]byte(name)))
		}
	}
	return file(t, b.String())
}

// planted are the findings that testdata/account.py has to give: check, severity, and the
// functions or the resource.
var planted = []string{
	"P01 high p01", "P02 high p02", "P02 high p02", "P03 medium p03", "P03 medium p03", "P04 medium p04", "P04 medium p04", "P05 high p05", "P06 medium p06",
	"P07 high p07", "P08 high p08,p08-other", "P09 high p09", "P10 high p10", "P11 info near-service", "P11 info near-url", "P11 info p09", "P11 info p11",
	"P12 medium p12", "P13 medium p13", "P13 medium p13", "P14 high p14", "P15 low 123456789012", "P16 high p16", "P16 medium p16-opens", "P17 low p17",
	"P18 medium 123456789012", "P19 low 123456789012", "P19 medium p19", "P20 high p20", "P21 high p21",
}

func TestAnAccountOf600FunctionsGivesThePlantedFindingsAndNoOther(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short: making the account takes a while")
	}
	port := serveMoto(t, "account.py", fmt.Sprint(functionsInMoto))
	saved := filepath.Join(t.TempDir(), "snapshot.json")
	cmd := atMoto(t, port, "--bucket", "p18", "--bucket", "near-bucket", "--save", saved, "--fail-on", "high")
	begin := time.Now()
	out, err := cmd.Output()
	took := time.Since(begin)
	if cmd.ProcessState.ExitCode() != exitFound {
		t.Fatalf("it ends with %v: %s", err, out)
	}
	t.Logf("%d functions in %v, %s", functionsInMoto, took.Round(time.Millisecond), peak(cmd.ProcessState))
	var report output.Report
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatal(err)
	}
	if report.Summary.Total != functionsInMoto {
		t.Errorf("%d functions, want %d", report.Summary.Total, functionsInMoto)
	}
	if raw, err := os.ReadFile(saved); err != nil || strings.Contains(string(raw), "n33dle") {
		t.Errorf("the snapshot has the secret, or %v", err)
	}

	// The same, offline, with the policy beside it.
	var names []string
	for _, f := range report.Summary.Functions {
		names = append(names, f.Name)
	}
	code, again, stderr := posture(t, "--from", saved, "--format", "json", "--policy", policyOfMoto(t, names))
	report = output.Report{}
	if code != exitOK || json.Unmarshal([]byte(again), &report) != nil {
		t.Fatalf("%d %s", code, stderr)
	}
	var got []string
	for i := range report.Findings {
		got = append(got, brief(&report.Findings[i]))
	}
	slices.Sort(got)
	if !slices.Equal(got, planted) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(planted, "\n"))
	}
	if s := report.Summary; s.Round != 8 || s.Unknown != 0 || s.Behind != functionsInMoto-8 || !s.Whole {
		t.Errorf("%d round, %d unknown, %d behind", s.Round, s.Unknown, s.Behind)
	}
}

// brief writes a finding as planted has it.
func brief(f *finding.Finding) string {
	of := strings.Join(f.Functions, ",")
	if of == "" {
		of = f.Owner
	}
	return f.ID + " " + f.Severity.String() + " " + of
}
