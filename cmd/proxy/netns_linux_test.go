package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// network is namespaces of this test that are joined by one switch. Nothing in
// them reaches the machine, and nothing of the machine's reaches them.
type network struct {
	t      *testing.T
	prefix string
}

// newNetwork makes the switch, or skips where the machine does not let it.
func newNetwork(t *testing.T) *network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	for _, tool := range []string{"ip", "nft", "haproxy"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	n := &network{t: t, prefix: fmt.Sprintf("egress%d", os.Getpid())}
	if out, err := exec.Command("ip", "netns", "add", n.name("switch")).CombinedOutput(); err != nil {
		t.Skipf("no network namespace can be made here: %s", out)
	}
	t.Cleanup(func() { n.ip("netns", "del", n.name("switch")) })
	n.ip("-n", n.name("switch"), "link", "add", "bridge", "type", "bridge")
	n.ip("-n", n.name("switch"), "link", "set", "bridge", "up")
	return n
}

// name returns the name of a namespace.
func (n *network) name(space string) string { return n.prefix + "-" + space }

// ip runs ip(8).
func (n *network) ip(args ...string) {
	n.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		n.t.Fatalf("ip %v: %s", args, out)
	}
}

// add makes a namespace with addresses on the switch.
func (n *network) add(space string, addresses ...string) {
	n.t.Helper()
	name := n.name(space)
	n.ip("netns", "add", name)
	n.t.Cleanup(func() { n.ip("netns", "del", name) })
	n.ip("-n", name, "link", "set", "lo", "up")
	n.ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", space, "netns", n.name("switch"))
	n.ip("-n", n.name("switch"), "link", "set", space, "master", "bridge", "up")
	for _, a := range addresses {
		n.ip("-n", name, "addr", "add", a+"/16", "dev", "eth0")
	}
	n.ip("-n", name, "link", "set", "eth0", "up")
}

// in runs f on a thread of the namespace: sockets that it opens and processes
// that it starts belong there for good. It fails where f does not come to its
// end.
func (n *network) in(space string, f func()) {
	n.t.Helper()
	done := make(chan struct{})
	whole := false
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked, so that the thread ends with it
		fd, err := unix.Open("/var/run/netns/"+n.name(space), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			_ = unix.Close(fd)
		}
		if err != nil {
			n.t.Errorf("entering %s: %v", space, err)
			return
		}
		f()
		whole = true
	}()
	<-done
	if !whole {
		n.t.FailNow()
	}
}

// nft runs nft(8) in a namespace.
func (n *network) nft(space, rules string) {
	n.t.Helper()
	cmd := exec.Command("ip", "netns", "exec", n.name(space), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		n.t.Fatalf("nft: %s", out)
	}
}
