package egresstest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
)

// ofSquid is what Squid is told beside the rules: it caches nothing, writes nothing but its
// log, and does not stay.
const ofSquid = `cache deny all
cache_mem 8 MB
access_log none
cache_store_log none
pid_filename none
forwarded_for delete
via off
pinger_enable off
shutdown_lifetime 0 seconds
netdb_filename none
`

// squidPath returns where Squid is installed, or skips the test.
func squidPath(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("squid")
	if err != nil {
		path = "/usr/sbin/squid"
	}
	if _, err := os.Stat(path); err != nil {
		t.Skip("Squid is not installed (apt-get install squid)")
	}
	return path
}

// Squid starts Squid on loopback with these lines of its configuration, and returns its
// address. The names resolve to 127.0.0.1. The test is skipped where Squid is not installed.
func Squid(t testing.TB, lines string, names ...string) string {
	t.Helper()
	path := squidPath(t)
	dir, err := os.MkdirTemp("", "squid") // Squid runs as another user, for whom t.TempDir is closed
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	as := "nobody"
	if u, err := user.Current(); err == nil && u.Uid != "0" {
		as = u.Username
	}
	conf := ofSquid + fmt.Sprintf("http_port %s\ncache_log %[2]s/log\ncoredump_dir %[2]s\nhosts_file %[2]s/hosts\ncache_effective_user %[3]s\n%[4]s\n", addr, dir, as, lines)
	for file, text := range map[string]string{"conf": conf, "hosts": "127.0.0.1 " + strings.Join(names, " ") + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	// A name of its own: what Squid shares by that name is not for another one on this machine.
	name := fmt.Sprintf("pairs%d", os.Getpid())
	c := exec.Command(path, "-N", "-n", name, "-f", filepath.Join(dir, "conf"))
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		left, _ := filepath.Glob("/dev/shm/" + name + "-*")
		for _, file := range left {
			_ = os.Remove(file)
		}
	})
	Eventually(t, "Squid listens", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return addr
}
