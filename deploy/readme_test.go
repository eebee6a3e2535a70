package deploy

import (
	"math"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// guides are the pages of this folder with commands.
func guides(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob("*/*.md")
	if err != nil || len(all) == 0 {
		t.Fatalf("%d pages: %v", len(all), err)
	}
	return all
}

// shellBlock finds the blocks of a page that a shell reads, and their first lines.
var shellBlock = regexp.MustCompile("(?ms)^ *```(bash|sh|console|shell)([^\n]*)\n(.*?)^ *```")

// A block says which shell it is for; bash reads each.
func TestShellBlocksAreBashAndParse(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	for _, page := range guides(t) {
		blocks := shellBlock.FindAllStringSubmatch(read(t, page), -1)
		for _, b := range blocks {
			if b[1] != "bash" {
				t.Errorf("%s: a block is marked %s", page, b[1])
			}
			cmd := exec.Command(bash, "-n")
			cmd.Stdin = strings.NewReader(b[3])
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v %s\n%s", page, err, out, b[3])
			}
		}
	}
}

// What a command is called with can be read by everybody on the machine.
func TestNoSecretIsAnArgument(t *testing.T) {
	t.Parallel()
	secret := regexp.MustCompile(`--(secret-string|password)[ =]("?\$|'[^f])|<<<|TOKEN=\$|echo "?\$TOKEN`)
	for _, page := range guides(t) {
		for _, b := range shellBlock.FindAllStringSubmatch(read(t, page), -1) {
			if m := secret.FindString(b[3]); m != "" {
				t.Errorf("%s: %q in\n%s", page, m, b[3])
			}
			if strings.Contains(b[3], "secretsmanager create-secret") && !strings.Contains(b[3], "--secret-string file:///dev/stdin") {
				t.Errorf("%s: where does the secret come from?\n%s", page, b[3])
			}
		}
	}
}

// prices returns the table of prices of the README.
func prices(t *testing.T) map[string]float64 {
	t.Helper()
	all := map[string]float64{}
	for _, row := range rows(t, read(t, "ecs/README.md"), "price") {
		p, err := strconv.ParseFloat(row[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		all[row[0]] = p
	}
	return all
}

// The table of costs is what the prices and the assumptions beside it make.
func TestCostsAreThoseOfThePrices(t *testing.T) {
	t.Parallel()
	const hours, calls, bytesOfACall, bytesOfMetrics, bytesOfATask = 730.0, 1e5, 2 * 650.0, 250.0, 1600.0
	p := prices(t)
	sizes := map[string]struct{ cpu, memory float64 }{"10": {0.25, 0.5}, "100": {0.25, 0.5}, "1,000": {1, 2}}
	got := map[string][]string{}
	for _, row := range rows(t, read(t, "ecs/README.md"), "what") {
		if len(row) == 4 {
			got[row[0]] = row[1:]
		}
	}
	for column, of := range []string{"10", "100", "1,000"} {
		n, err := strconv.ParseFloat(strings.ReplaceAll(of, ",", ""), 64)
		if err != nil {
			t.Fatal(err)
		}
		gigabytes := n * calls * 10e3 / 1e9
		addresses := 2 * hours * p["public IPv4 address, an hour"]
		want := map[string]float64{
			"two ARM tasks (Size small; large for 1,000) and the load balancer": hours * (2*(sizes[of].cpu*p["Fargate, ARM, a vCPU and hour"]+sizes[of].memory*p["Fargate, ARM, a GB and hour"]) + p["Network Load Balancer, an hour"]),
			"two NAT gateways":                                          2 * hours * p["NAT gateway, an hour"],
			"their public addresses":                                    addresses,
			"what the NAT gateways process":                             gigabytes * p["NAT gateway, a GB"],
			"records, and the lines of metrics among them":              (n*calls*bytesOfACall + 2*hours*60*(n*bytesOfMetrics+bytesOfATask)) / 1e9 * p["CloudWatch Logs, a GB taken in"],
			"CloudWatch metrics, three for each function and 20 of all": (3*n + 20) * p["CloudWatch metric, a month"],
			"alarms; the one on refusals of a function is charged by the metrics that it reads": (26 + 2*n) * p["CloudWatch alarm, or metric read by one that is a query, a month"],
			"a token for each function in Secrets Manager":                                      n * p["Secrets Manager, a secret and month"],
		}
		all := 0.0
		for _, cost := range want {
			all += cost
		}
		want["**all of it**"] = all
		want["AWS Network Firewall, routed, in place of it: two endpoints, their public addresses, traffic"] = 2*hours*p["Network Firewall endpoint, an hour"] + addresses + gigabytes*p["Network Firewall, a GB"]
		for what, cost := range want {
			if row := got[what]; row == nil {
				t.Errorf("README.md has no cost of %q", what)
			} else if shown, err := strconv.ParseFloat(row[column], 64); err != nil || math.Abs(shown-cost) > 0.51 {
				t.Errorf("%s for %s functions is %s, want %.1f", what, of, row[column], cost)
			}
		}
		if len(got) != len(want)+1 { // a row has no figures
			t.Errorf("README.md has %d rows, of which %d are computed", len(got), len(want))
		}
	}
}

// The templates, as the linter of CloudFormation reads them: every type, property and value.
func TestTemplatesPassTheLinter(t *testing.T) {
	t.Parallel()
	lint, err := exec.LookPath("cfn-lint")
	if err != nil {
		t.Skip("cfn-lint is not installed (pip install cfn-lint)")
	}
	args := []string{"--", "sam/template.yaml"}
	for name := range templates(t) {
		args = append(args, "ecs/"+name)
	}
	if out, err := exec.Command(lint, args...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
