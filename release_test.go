package repo

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Programs that no release has as an archive, and what there is instead.
var notReleased = map[string]string{"extension": "a layer, of deploy/lambda/layer.sh"}

// Each program of cmd is released for each platform, or stands above with the reason why not;
// posture with its clients of AWS, without which it reads no account.
func TestReleaseHasEveryProgram(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	tags := map[string]string{"posture": " aws"}
	var want []string
	programs, err := os.ReadDir("cmd")
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range programs {
		if notReleased[program.Name()] != "" {
			continue
		}
		for _, platform := range strings.Fields(output(t, ".ci/platforms", "--names")) {
			want = append(want, program.Name()+" "+platform+tags[program.Name()])
		}
	}
	got := strings.Split(strings.TrimSpace(output(t, ".ci/release", "--names")), "\n")
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("a release has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// What is checked without its clients, to be quick, is checked as it is released too.
	for script, line := range map[string]string{".ci/run": ".ci/snapshot --quick\n", ".ci/long": "\n  .ci/snapshot\n"} {
		if !strings.Contains(read(t, script), line) {
			t.Errorf("%s does not look at a release: no %q", script, line)
		}
	}
}

// output returns what a script prints.
func output(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("bash", args...).Output()
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return string(out)
}

// docker stands in for docker: it writes down what it is told, and answers as the images do
// that say the version of RUN.
const docker = `#!/bin/sh
printf '%s\n' "$*" >>"$TOLD"
case "$*" in
*proxy:snapshot\ version) echo "proxy $RUN commit 0123abcd" ;;
*posture:snapshot\ --version) echo "posture ${RUN_POSTURE:-$RUN}" ;;
esac
`

// told runs .ci/images with that docker and returns what docker was told, a line each.
func told(t *testing.T, environment []string, args ...string) ([]string, error) {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(docker), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", append([]string{".ci/images"}, args...)...)
	cmd.Env = append(append(os.Environ(), environment...), "TOLD="+filepath.Join(dir, "told"), "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	err := cmd.Run()
	return strings.Split(strings.TrimSpace(read(t, filepath.Join(dir, "told"))), "\n"), err
}

// Each Dockerfile of the repository is an image of the release, made alike: both platforms, a
// bill of materials, provenance, a digest to be signed.
func TestReleasePushesEveryImage(t *testing.T) {
	t.Parallel()
	got, err := told(t, nil, "v1.2.3", "ghcr.io/owner/repository", "pushed")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"buildx create --use"}
	walk(t, func(name string) {
		if filepath.Base(name) != "Dockerfile" {
			return
		}
		program, tag := "proxy", "v1.2.3"
		if dir := filepath.Base(filepath.Dir(name)); dir != "." {
			program, tag = dir, dir+"-v1.2.3"
		}
		want = append(want, "buildx build --file "+name+" --platform linux/amd64,linux/arm64 --build-arg VERSION=v1.2.3 --provenance=mode=max --sbom=true"+
			" --tag ghcr.io/owner/repository:"+tag+" --push --metadata-file pushed/"+program+".json .")
	}, "Dockerfile")
	slices.Sort(got)
	slices.Sort(want)
	if len(want) < 3 || !slices.Equal(got, want) {
		t.Errorf("docker is told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	workflow := read(t, ".github/workflows/release.yml")
	for _, line := range []string{`.ci/images "$VERSION" "${IMAGE,,}" "$RUNNER_TEMP/images"`, `for pushed in "$RUNNER_TEMP"/images/*.json; do`, `sign --yes "${IMAGE,,}@$(jq `} {
		if !strings.Contains(workflow, line) {
			t.Errorf("the workflow of releases does not say %s", line)
		}
	}
}

// Where nothing is pushed, an image that says another version than the one it is built with
// is found, whichever it is.
func TestImagesThatSayAnotherVersionAreFound(t *testing.T) {
	t.Parallel()
	if got, err := told(t, []string{"RUN=v0.0.0-snapshot"}, "v0.0.0-snapshot"); err != nil || strings.Contains(strings.Join(got, "\n"), "--push") {
		t.Errorf("images that say their version: %v, docker is told\n%s", err, strings.Join(got, "\n"))
	}
	for _, other := range []string{"RUN=v0.0.0", "RUN_POSTURE=v0.0.0"} {
		if _, err := told(t, []string{"RUN=v0.0.0-snapshot", other}, "v0.0.0-snapshot"); err == nil {
			t.Errorf("%s: nobody noticed", other)
		}
	}
}
