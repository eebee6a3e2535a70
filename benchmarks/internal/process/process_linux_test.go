package process

import (
	"strings"
	"testing"
	"time"
)

// The shell's child burns CPU; both end themselves, and Stop ends them sooner.
func TestCPUOfAProcessGrowsByWhatItsChildrenUse(t *testing.T) {
	t.Parallel()
	p, err := Start(t.TempDir(), "sh", "-c", `sh -c 'i=0; while [ $i -lt 3000000 ]; do i=$((i+1)); done'; true`)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	for range 1000 {
		if p.CPU() > 50*time.Millisecond {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("its clock says %s", p.CPU())
}

func TestProcessThatIsGoneUsesNothing(t *testing.T) {
	t.Parallel()
	p, err := Start(t.TempDir(), "true")
	if err != nil {
		t.Fatal(err)
	}
	p.Stop()
	if cpu, rss, descriptors := p.CPU(), p.RSS(), p.Descriptors(); cpu != 0 || rss != 0 || descriptors != 0 {
		t.Errorf("it has %s, %d bytes and %d descriptors", cpu, rss, descriptors)
	}
}

func TestProgramThatDoesNotListenIsStoppedAndSaysWhy(t *testing.T) {
	t.Parallel()
	p, err := Start(t.TempDir(), "sh", "-c", "echo no such key; exit 1")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Await("127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "no such key") {
		t.Errorf("got %v", err)
	}
	if _, err := Start(t.TempDir(), "there-is-no-such-program"); err == nil {
		t.Error("a program that does not exist was started")
	}
}
