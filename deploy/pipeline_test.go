package deploy

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// The workflow gives the script what it needs, by the one environment that the role is for,
// and the role may make each call that the script makes.
func TestRollOutHasItsSettingsAndMayMakeItsCalls(t *testing.T) {
	t.Parallel()
	var workflow struct {
		Jobs struct {
			Rollout struct {
				Environment string
				Env         map[string]string
			}
		}
		Permissions map[string]string
	}
	if err := yaml.Unmarshal([]byte(read(t, "github/policy-rollout.yaml")), &workflow); err != nil {
		t.Fatal(err)
	}
	job := workflow.Jobs.Rollout
	pipeline := templates(t)["pipeline.yaml"]
	if job.Environment != pipeline.Parameters["GitHubEnvironment"].Default || job.Env["PREFIX"] != pipeline.Parameters["PolicyPrefix"].Default || workflow.Permissions["id-token"] != "write" {
		t.Errorf("the workflow is for %s, %s, with %v", job.Environment, job.Env["PREFIX"], workflow.Permissions)
	}
	script := read(t, "github/roll-out")
	needed := regexp.MustCompile(`"\$\{([A-Z_]+):\?\}"`).FindAllStringSubmatch(script, -1)
	if len(needed) < 6 {
		t.Fatalf("the script needs %q", needed)
	}
	for _, m := range needed {
		if job.Env[m[1]] == "" {
			t.Errorf("the workflow does not set %s", m[1])
		}
	}
	var may []string
	for _, s := range statements(t) {
		if strings.HasPrefix(s.where, "pipeline.yaml Role ") {
			for _, a := range list(at(s.body, "Action")) {
				may = append(may, a.(string))
			}
		}
	}
	service := map[string]string{"s3api": "s3", "elbv2": "elasticloadbalancing"}
	calls := regexp.MustCompile(`aws (s3api|ecs|elbv2|cloudwatch) ([a-z-]+)`).FindAllStringSubmatch(script, -1)
	for _, m := range calls {
		name := service[m[1]]
		if name == "" {
			name = m[1]
		}
		action := ""
		for word := range strings.SplitSeq(m[2], "-") {
			action += strings.ToUpper(word[:1]) + word[1:]
		}
		if action = name + ":" + action; !slices.Contains(may, action) {
			t.Errorf("the script calls %s, which the role may not", action)
		}
	}
	if len(calls) < 10 {
		t.Errorf("%d calls were found", len(calls))
	}
}
