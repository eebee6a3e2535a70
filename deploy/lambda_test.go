package deploy

import (
	"archive/zip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// maxLayer is how large the layer may be: it is loaded at each start of an environment.
const maxLayer = 6 << 20

// The archive has what Lambda and the wrapper look for, below /opt.
func TestLayerHasWhatLambdaLooksForAndIsSmall(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"bash", "zip"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Skipf("Lambda does not have %s", runtime.GOARCH)
	}
	file := filepath.Join(t.TempDir(), "layer.zip")
	if out, err := exec.Command("bash", "lambda/layer.sh", runtime.GOARCH, file).CombinedOutput(); err != nil {
		t.Fatalf("layer.sh: %v: %s", err, out)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > maxLayer {
		t.Errorf("the layer has %d bytes, over %d", info.Size(), maxLayer)
	}
	z, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var got []string
	for _, f := range z.File {
		if f.Mode().IsRegular() {
			got = append(got, f.Name+" "+f.Mode().String())
		}
	}
	slices.Sort(got)
	want := []string{"egress/node.cjs -rw-r--r--", "egress/wrapper -rwxr-xr-x", "extensions/egress -rwxr-xr-x"}
	if !slices.Equal(got, want) {
		t.Errorf("the layer has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What the template, the image and the page call a file is where the layer has it.
func TestPathsOfTheLayerAreTheSameEverywhere(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"lambda/Dockerfile.example": {"/opt/extensions/egress", "/opt/egress/", "AWS_LAMBDA_EXEC_WRAPPER=/opt/egress/wrapper", "deploy/lambda/wrapper deploy/lambda/node.cjs"},
		"lambda/README.md":          {"/opt/extensions/egress", "AWS_LAMBDA_EXEC_WRAPPER=/opt/egress/wrapper", "layer.sh", "layer.yaml", "Dockerfile.example"},
		"lambda/wrapper":            {"$here/node.cjs"},
	} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(string(text), w) {
				t.Errorf("%s does not have %s", name, w)
			}
		}
	}
}
