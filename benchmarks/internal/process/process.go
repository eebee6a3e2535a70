// Package process starts a program that is measured and reads what the kernel
// says of it: the CPU that it and its children used, their memory, their
// descriptors. It needs Linux; elsewhere all of that is zero. It is used by
// Start, Await and, in the end, Stop.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a program under measure with all its descendants: some peers
// work in children.
type Process struct {
	cmd   *exec.Cmd
	log   *bytes.Buffer
	ended chan struct{} // closed when the program itself has ended
}

// Start starts a program whose output is kept for when it fails.
func Start(dir, name string, args ...string) (*Process, error) {
	p := &Process{cmd: exec.Command(name, args...), log: &bytes.Buffer{}, ended: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = together()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() { _ = p.cmd.Wait(); close(p.ended) }() // Stop waits for it
	return p, nil
}

// Stop ends the program and its descendants.
func (p *Process) Stop() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(5 * time.Second):
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.ended
}

// Await waits until the program listens on a TCP address; it is stopped when it
// does not within ten seconds, and the error has what it said.
func (p *Process) Await(addr string) error {
	for range 200 {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-p.ended:
		case <-time.After(50 * time.Millisecond):
			continue
		}
		break
	}
	p.Stop()
	return fmt.Errorf("%s does not listen on %s: %s", p.cmd.Path, addr, p.log)
}

// Signal sends a signal to the program, not to its descendants.
func (p *Process) Signal(s syscall.Signal) error { return syscall.Kill(p.cmd.Process.Pid, s) }

// pids returns the program and its descendants.
func (p *Process) pids() []int {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		f, err := statFields(path)
		if err != nil {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		parent, _ := strconv.Atoi(f[1])
		children[parent] = append(children[parent], pid)
	}
	all := []int{p.cmd.Process.Pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// statFields returns the fields of /proc/PID/stat from the state on: the name
// before it may hold spaces.
func statFields(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return nil, errors.New("no name in stat")
	}
	return strings.Fields(string(b[i+1:])), nil
}

// CPU returns the CPU time, user and system, that the program has used so far,
// threads that have ended included, children that have ended not.
func (p *Process) CPU() (sum time.Duration) {
	for _, pid := range p.pids() {
		sum += cpuOf(pid)
	}
	return sum
}

// RSS returns the resident memory in bytes.
func (p *Process) RSS() int64 {
	var pages int64
	for _, pid := range p.pids() {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if err != nil {
			continue
		}
		if f := strings.Fields(string(b)); len(f) > 1 {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			pages += n
		}
	}
	return pages * int64(os.Getpagesize())
}

// Descriptors returns how many descriptors are open.
func (p *Process) Descriptors() int {
	n := 0
	for _, pid := range p.pids() {
		entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		n += len(entries)
	}
	return n
}
