package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// fakeAWS stands in for the AWS CLI: the bucket is a folder, the service has two tasks, and
// $SCENARIO says what fails. What it is asked to change is a line of the log.
const fakeAWS = `#!/usr/bin/env bash
set -euo pipefail
state=$FAKE
all="$*"
value() { # of a flag
  local next=""
  for word in "${args[@]}"; do
    if [ "$next" = "$1" ]; then printf %s "$word"; return; fi
    next=$word
  done
}
args=("$@")
log() { printf '%s\n' "$*" >>"$state/log"; }
local_path() { case $1 in s3://*) printf %s "$state/s3/${1#s3://*/}" ;; *) printf %s "$1" ;; esac; }
canary() { cat "$state/canary" 2>/dev/null || true; }
rolled() { [ -e "$state/s3/policy/manifest.json" ] && ! cmp -s "$state/s3/policy/manifest.json" "$state/first.json"; }
case "$1 $2" in
"s3api get-object")
  file=$state/s3/$(value --key)
  if [ ! -e "$file" ]; then echo "An error occurred (${DENIED:-NoSuchKey}) when calling the GetObject operation" >&2; exit 254; fi
  cp "$file" "${args[${#args[@]}-1]}" ;;
"s3api put-object")
  log "put $(value --key) $(jq -r .main "$(value --body)")"
  mkdir -p "$(dirname "$state/s3/$(value --key)")"
  cp "$(value --body)" "$state/s3/$(value --key)" ;;
"s3 cp")
  from=$(local_path "${args[${#args[@]}-2]}") to=$(local_path "${args[${#args[@]}-1]}")
  case $all in
  *--recursive*) mkdir -p "$to"; cp -R "$from/." "$to" ;;
  *) cp "$from" "$to" ;;
  esac
  case ${args[${#args[@]}-1]} in s3://*) log "upload ${args[${#args[@]}-1]}" ;; esac ;;
"ecs describe-services")
  running=2
  if [ "$SCENARIO" = "tasks end" ] && rolled; then running=1; fi
  echo '{"services": [{"taskDefinition": "gate:7", "desiredCount": 2, "runningCount": '$running', "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}}]}' ;;
"ecs describe-task-definition")
  echo '{"taskDefinition": {"containerDefinitions": [{"command": ["run", "--config", "s3://policies/policy/", "--emf", "60s"]}]}}' ;;
"ecs run-task")
  log "run $(value --task-definition) $(value --overrides) $(value --network-configuration)"
  if [ "$SCENARIO" = "no capacity" ]; then echo '{"tasks": [], "failures": [{"reason": "RESOURCE:FARGATE"}]}'; exit; fi
  echo PENDING >"$state/canary"
  echo '{"tasks": [{"taskArn": "arn:aws:ecs:eu-west-1:111122223333:task/gate/canary"}]}' ;;
"ecs describe-tasks")
  case "$SCENARIO" in
  "it does not start") status=STOPPED ;;
  "it ends") status=$([ "$(canary)" = WATCHED ] && echo STOPPED || echo RUNNING) ;;
  *) status=RUNNING ;;
  esac
  if [ "$(canary)" = REGISTERED ]; then echo WATCHED >"$state/canary"; fi
  echo '{"tasks": [{"lastStatus": "'$status'", "healthStatus": "HEALTHY", "stoppedReason": "Essential container exited", "attachments": [{"details": [{"name": "privateIPv4Address", "value": "10.0.0.9"}]}]}]}' ;;
"ecs stop-task") log "stop $(value --task)"; rm -f "$state/canary" ;;
"elbv2 register-targets") log "register $(value --targets)"; echo REGISTERED >"$state/canary" ;;
"elbv2 deregister-targets") log "deregister $(value --targets)"; echo GONE >"$state/canary" ;;
"elbv2 describe-target-health")
  second=healthy canary=healthy
  if [ "$SCENARIO" = "targets fail" ] && rolled; then second=unhealthy; fi
  if [ "$SCENARIO" = "it is never healthy" ]; then canary=initial; fi
  if [ "$SCENARIO" = "it falls ill" ] && [ "$(canary)" = WATCHED ]; then canary=unhealthy; fi
  targets='{"Target": {"Id": "10.0.0.1"}, "TargetHealth": {"State": "healthy"}}, {"Target": {"Id": "10.0.0.2"}, "TargetHealth": {"State": "'$second'"}}'
  case $(canary) in REGISTERED | WATCHED) targets=$targets', {"Target": {"Id": "10.0.0.9"}, "TargetHealth": {"State": "'$canary'"}}' ;; esac
  echo '{"TargetHealthDescriptions": ['"$targets"']}' ;;
"cloudwatch get-metric-statistics")
  loaded=1.0
  if [ "$SCENARIO" = "a reload fails" ] && rolled; then loaded=0.0; fi
  echo '{"Datapoints": [{"Minimum": 1.0}, {"Minimum": '$loaded'}]}' ;;
*) echo "not known: $all" >&2; exit 2 ;;
esac
`

// rollOut is a repository with a policy, and the script with the stand-in.
type rollOut struct {
	t           *testing.T
	dir, folder string
}

// newRollOut makes a policy of a team, of which nothing is uploaded.
func newRollOut(t *testing.T) *rollOut {
	t.Helper()
	for _, command := range []string{"bash", "jq"} {
		if _, err := exec.LookPath(command); err != nil {
			t.Skipf("%s is not installed", command)
		}
	}
	r := &rollOut{t: t, dir: t.TempDir()}
	r.folder = filepath.Join(r.dir, "repository")
	r.write("bin/aws", fakeAWS)
	if err := errors.Join(os.Chmod(filepath.Join(r.dir, "bin/aws"), 0o755), os.MkdirAll(filepath.Join(r.dir, "fake/s3"), 0o755)); err != nil {
		t.Fatal(err)
	}
	r.write("repository/egress.yaml", "version: 1\ninclude:\n  - {file: teams/a.yaml, functions: [a], may: {ports: [443]}}\n")
	r.write("repository/README.md", "not of the policy\n")
	r.team("[x.example]")
	return r
}

func (r *rollOut) write(name, text string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		r.t.Fatal(err)
	}
}

// team writes the team's file.
func (r *rollOut) team(allow string) {
	r.write("repository/teams/a.yaml", "functions:\n  a: {identify: {sources: [10.0.1.0/24]}, allow: "+allow+"}\ntests:\n  - {function: a, allow: [\"x.example:443\"]}\n")
}

// run rolls out, and returns what it says, its exit code, and what it has changed since.
func (r *rollOut) run(scenario string, environment ...string) (out string, code int, changed string) {
	r.t.Helper()
	_ = os.Remove(filepath.Join(r.dir, "fake/log"))
	if b, err := os.ReadFile(filepath.Join(r.dir, "fake/s3/policy/manifest.json")); err == nil {
		r.write("fake/first.json", string(b))
	}
	script, err := filepath.Abs(filepath.FromSlash("../../deploy/github/roll-out"))
	if err != nil {
		r.t.Fatal(err)
	}
	cmd := exec.CommandContext(r.t.Context(), "bash", script, r.folder)
	cmd.Env = append(os.Environ(), append([]string{
		"PATH=" + filepath.Join(r.dir, "bin") + string(os.PathListSeparator) + os.Getenv("PATH"), "FAKE=" + filepath.Join(r.dir, "fake"), "SCENARIO=" + scenario, exitAtOnce,
		"BUCKET=policies", "PREFIX=policy/", "CLUSTER=gate", "SERVICE=gate-Service", "TARGET_GROUP=arn:targets", "DEPLOYMENT=gate",
		"START=2", "WATCH=2", "EVERY=0", "SETTLE=-9", "GITHUB_STEP_SUMMARY=" + filepath.Join(r.dir, "summary"),
	}, environment...)...)
	b, err := cmd.CombinedOutput()
	changes, _ := os.ReadFile(filepath.Join(r.dir, "fake/log"))
	return string(b), exitCode(err), string(changes)
}

// first puts a policy in force, of a version of its own, and then changes the team's file.
func (r *rollOut) first() (version string) {
	r.t.Helper()
	release := filepath.Join(r.dir, "fake/s3/policy")
	if err := os.CopyFS(filepath.Join(release, strings.Repeat("0", 16)), os.DirFS(r.folder)); err != nil {
		r.t.Fatal(err)
	}
	var out strings.Builder
	if code := execute(r.t.Context(), []string{"manifest", "--main", strings.Repeat("0", 16) + "/egress.yaml", release}, &out, &out); code != exitOK {
		r.t.Fatal(out.String())
	}
	r.team("[x.example, y.example]")
	return r.inForce()
}

// inForce returns the folder of the version in force.
func (r *rollOut) inForce() string {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.dir, "fake/s3/policy/manifest.json"))
	m := regexp.MustCompile(`"main": "([0-9a-f]{16})/egress.yaml"`).FindSubmatch(b)
	if err != nil || m == nil {
		r.t.Fatalf("%v, %s", err, b)
	}
	return string(m[1])
}

// A version is on one task first, which has a share of the requests, and then on all; it is
// uploaded before anything names it, and nothing but the policy is.
func TestPolicyIsTriedOnOneTaskBeforeAllHaveIt(t *testing.T) {
	t.Parallel()
	r := newRollOut(t)
	was := r.first()
	out, code, changed := r.run("good")
	now := r.inForce()
	if code != 0 || now == was || !strings.Contains(out, now+" is in force\n") {
		t.Fatalf("%d, %s", code, out)
	}
	want := "upload s3://policies/policy/V/\n" +
		"upload s3://policies/policy/V/manifest.json\n" +
		`run gate:7 {"containerOverrides":[{"name":"proxy","command":["run","--config","s3://policies/policy/V/","--emf","60s"]}]} {"awsvpcConfiguration":{"subnets":["subnet-1"]}}` + "\n" +
		"register Id=10.0.0.9,Port=3128\nderegister Id=10.0.0.9,Port=3128\nstop arn:aws:ecs:eu-west-1:111122223333:task/gate/canary\n" +
		"put policy/manifest.json V/egress.yaml\n"
	if got := strings.ReplaceAll(changed, now, "V"); got != want {
		t.Errorf("it has done\n%s\nwant\n%s", got, want)
	}
	if summary, err := os.ReadFile(filepath.Join(r.dir, "summary")); err != nil || !strings.Contains(string(summary), "y.example on port 443") {
		t.Errorf("the summary is %s, %v", summary, err)
	}
	files, err := filepath.Glob(filepath.Join(r.dir, "fake/s3/policy", now, "*"))
	if names := strings.ReplaceAll(strings.Join(files, " "), filepath.Join(r.dir, "fake/s3/policy", now), ""); err != nil || names != "/egress.yaml /manifest.json /teams" {
		t.Errorf("%s is uploaded, %v", names, err)
	}
	if out, code, changed := r.run("good"); code != 0 || changed != "" || !strings.Contains(out, "is in force already") {
		t.Errorf("again: %d, %s, %s", code, out, changed)
	}
}

func TestFirstPolicyIsRolledOutTooAndHasNoneToGoBackTo(t *testing.T) {
	t.Parallel()
	r := newRollOut(t)
	if out, code, changed := r.run("targets fail"); code != 1 || !strings.Contains(out, "there is no policy yet") || !strings.Contains(out, "there was no policy before to go back to") ||
		strings.Count(changed, "put ") != 1 {
		t.Errorf("%d, %s, %s", code, out, changed)
	}
}

// scenarios returns all of them where EGRESS_ROLL_OUTS is set, as .ci/long has it, and else one:
// each starts some hundred processes.
func scenarios(one string, all map[string]string) map[string]string {
	if os.Getenv("EGRESS_ROLL_OUTS") != "" {
		return all
	}
	return map[string]string{one: all[one]}
}

// Nothing but the one task has had a policy with which that task fails.
func TestPolicyThatOneTaskFailsWithReachesNoOther(t *testing.T) {
	t.Parallel()
	for scenario, want := range scenarios("it falls ill", map[string]string{
		"no capacity":         "ECS starts no task; nothing has changed",
		"it does not start":   "the task ended: Essential container exited; no other has the policy",
		"it is never healthy": "the task is not healthy after 2 looks; no other has the policy",
		"it falls ill":        "the task is not healthy any more; no other has the policy",
		"it ends":             "the task ended; no other has the policy",
	}) {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			r := newRollOut(t)
			was := r.first()
			out, code, changed := r.run(scenario)
			if code != 1 || !strings.Contains(out, want) || strings.Contains(changed, "put ") || r.inForce() != was {
				t.Errorf("%d, %s\n%s", code, out, changed)
			}
			if ran, stopped := strings.Contains(changed, "run "), strings.Contains(changed, "stop "); !ran || stopped != (scenario != "no capacity") || strings.Count(changed, "deregister ")*2 != strings.Count(changed, "register ") {
				t.Errorf("what was begun is not ended:\n%s", changed)
			}
		})
	}
}

// What fails behind the one task brings the version before back.
func TestServiceGoesBackByItselfWhereItFails(t *testing.T) {
	t.Parallel()
	for scenario, want := range scenarios("a reload fails", map[string]string{
		"targets fail":   "fewer than 2 targets are healthy",
		"tasks end":      "fewer than 2 tasks run",
		"a reload fails": "a task could not load it",
	}) {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			r := newRollOut(t)
			was := r.first()
			out, code, changed := r.run(scenario)
			if code != 1 || !strings.Contains(out, want) || !strings.Contains(out, "all tasks go back to the policy before") || r.inForce() != was {
				t.Errorf("%d, %s", code, out)
			}
			if puts := regexp.MustCompile(`(?m)^put .*$`).FindAllString(changed, -1); len(puts) != 2 || puts[1] != "put policy/manifest.json "+was+"/egress.yaml" {
				t.Errorf("put %q", puts)
			}
		})
	}
}

// What does not pass check, its tests included, is not uploaded; nor is anything where the
// policy in force is not known.
func TestPolicyThatIsNotGoodIsNotUploaded(t *testing.T) {
	t.Parallel()
	r := newRollOut(t)
	if out, code, changed := r.run("good", "DENIED=AccessDenied"); code != 1 || changed != "" || !strings.Contains(out, "the policy in force cannot be read: ") {
		t.Errorf("denied: %d, %s, %s", code, out, changed)
	}
	r.first()
	for allow, want := range map[string]string{
		"['*.example']":    "teams/a.yaml:2: functions.a.allow[0]: ",
		"[y.example]":      "the test fails: a may not reach x.example:443",
		"[x.example, '?']": "teams/a.yaml:2: functions.a.allow[1]: ",
	} {
		r.team(allow)
		if out, code, changed := r.run("good"); code != 1 || changed != "" || !strings.Contains(out, want) || !strings.Contains(out, "the policy is not good; nothing has changed") {
			t.Errorf("%s: %d, %s, %s", allow, code, out, changed)
		}
	}
}
