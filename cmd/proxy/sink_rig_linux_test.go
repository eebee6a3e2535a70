package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// sink is an output of records that a test breaks and mends.
type sink struct {
	flags  []string // of the program, beside --config
	stdout *os.File // of the program; nil: a file that nobody looks at
	output string   // audit.output
	files  []string // where its records can be read in the end
	fail   func()   // nil: it is broken from the start
	mend   func()   // nil: it stays broken
	rest   func()   // waits for what a program that has ended left in it; nil: nothing
}

// sinkPolicy lets billing reach one host; ${on_failure} is the test's.
const sinkPolicy = head + `audit: {output: "${output}", on_failure: ${on_failure}}
functions:
  billing:
    identify: {${token_billing}}
    allow: [{host: before.test, ports: [${echo}], tls: any, addresses: [127.0.0.0/8]}]
`

// startOn is start with a standard output of the test's.
func (w *world) startOn(s *sink, policy string) *running {
	w.t.Helper()
	dir := w.t.TempDir()
	w.vars["output"] = s.output
	p := &running{t: w.t, world: w, exited: make(chan struct{}), config: filepath.Join(dir, "egress.yaml"), stderr: filepath.Join(dir, "stderr")}
	p.recordFiles, p.rest = s.files, s.rest
	w.write(p.config, policy)
	stderr, err := os.Create(p.stderr)
	w.must(err)
	defer stderr.Close()
	p.cmd = exec.Command("proxy", append([]string{"run", "--config", p.config}, s.flags...)...)
	p.cmd.Stderr, p.cmd.Env = stderr, []string{exitAtOnce}
	if s.stdout != nil {
		p.cmd.Stdout = s.stdout
	}
	w.must(p.cmd.Start())
	if s.stdout != nil {
		w.must(s.stdout.Close())
	}
	go func() { defer close(p.exited); _ = p.cmd.Wait() }()
	w.t.Cleanup(p.finish)
	w.eventually("the program serves", func() bool {
		for _, line := range p.logs() {
			if line["msg"] == "serving" {
				p.proxy, p.admin = line["proxy"].(string), line["admin"].(string)
				return true
			}
		}
		return false
	})
	return p
}

// drain copies what comes through a pipe to a file, and can be told to stop
// reading. The file has whole what was read.
type drain struct {
	from, to *os.File
	pause    sync.Mutex   // held while a line is read
	slow     atomic.Int64 // how long it rests behind a line, of time.Duration
	begun    atomic.Int64 // lines that the reader has begun to take
	done     chan struct{}
}

// newDrain starts to read.
func (w *world) newDrain(from *os.File, path string, slow time.Duration) *drain {
	w.t.Helper()
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	w.must(err)
	d := &drain{from: from, to: to, done: make(chan struct{})}
	d.slow.Store(int64(slow))
	go d.run()
	w.t.Cleanup(func() { _ = from.Close(); <-d.done; _ = to.Close() })
	return d
}

// run reads until the writer has closed the pipe, or the test the reader. With
// slow it takes a line at a time, and rests in between.
func (d *drain) run() {
	defer close(d.done)
	size := 1 << 16
	if d.slow.Load() > 0 {
		size = 16
	}
	r := bufio.NewReaderSize(onlyReader{d.from}, size)
	for {
		d.pause.Lock()
		d.begun.Add(1)
		line, err := r.ReadBytes('\n')
		_, _ = d.to.Write(line)
		d.pause.Unlock()
		if err != nil && !os.IsTimeout(err) {
			return
		}
		time.Sleep(time.Duration(d.slow.Load()))
	}
}

// onlyReader hides what else a file can do.
type onlyReader struct{ io.Reader }

// stop makes the reader stop where it is.
func (d *drain) stop() {
	_ = d.from.SetReadDeadline(time.Now())
	d.pause.Lock()
}

// goOn lets it read again.
func (d *drain) goOn() {
	_ = d.from.SetReadDeadline(time.Time{})
	d.pause.Unlock()
}

// unreadPipe is standard output as a small pipe whose reader stops.
func unreadPipe(w *world) *sink {
	r, out := w.pipe()
	path := filepath.Join(w.t.TempDir(), "read")
	d := w.newDrain(r, path, 0)
	return &sink{stdout: out, output: "stdout", files: []string{path}, fail: d.stop, mend: d.goOn, rest: func() { <-d.done }}
}

// pipe returns a pipe that holds 4 KiB.
func (w *world) pipe() (r, out *os.File) {
	w.t.Helper()
	r, out, err := os.Pipe()
	w.must(err)
	_, err = unix.FcntlInt(out.Fd(), unix.F_SETPIPE_SZ, 4096)
	w.must(err)
	return r, out
}

// leftFIFO is a FIFO whose reader goes away, and another comes.
func leftFIFO(w *world) *sink {
	dir := w.t.TempDir()
	fifo, path := filepath.Join(dir, "fifo"), filepath.Join(dir, "read")
	w.must(unix.Mkfifo(fifo, 0o600))
	open := func() *drain {
		// For writing too: without a writer there would be an end to read.
		r, err := os.OpenFile(fifo, os.O_RDWR|unix.O_NONBLOCK, 0)
		w.must(err)
		return w.newDrain(r, path, 0)
	}
	d := open()
	leave := func() {
		// What is in a pipe dies with its reader: it has to be out before.
		w.eventually("the pipe is empty", d.empty)
		w.must(d.from.Close())
		<-d.done
	}
	return &sink{output: fifo, files: []string{path}, fail: leave, mend: func() { d = open() }, rest: leave}
}

// empty reports whether all that was written has been read.
func (d *drain) empty() bool {
	left := -1
	raw, err := d.from.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { left, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	}
	return err == nil && left == 0
}

// fullDisk is a file on a file system of 1 MB that something else fills.
func fullDisk(w *world) *sink {
	dir := w.smallDisk()
	filler := filepath.Join(dir, "filler")
	file := filepath.Join(dir, "records.json")
	return &sink{output: file, files: []string{file}, fail: func() {
		if err := os.WriteFile(filler, make([]byte, 2<<20), 0o600); err == nil {
			w.t.Fatal("two megabytes fit into one")
		}
	}, mend: func() { w.must(os.Remove(filler)) }}
}

// smallDisk mounts a file system of 1 MB, or skips where that needs rights that
// the test does not have.
func (w *world) smallDisk() string {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), "disk")
	w.must(os.Mkdir(dir, 0o700))
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		w.t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	w.t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// fullDevice takes nothing from the start.
func fullDevice(*world) *sink { return &sink{output: "/dev/full"} }

// hungUp is a terminal whose other side goes away: every write is an I/O error.
func hungUp(w *world) *sink {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		w.t.Skipf("no terminal can be made here: %v", err)
	}
	w.must(unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	w.must(err)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		w.t.Skipf("no terminal can be made here: %v", err)
	}
	return &sink{stdout: slave, output: "stdout", fail: func() { w.must(master.Close()) }}
}

// sinks are the outputs that break.
var sinks = []struct {
	name string
	make func(*world) *sink
}{
	{"a pipe that nobody reads", unreadPipe},
	{"a reader that is gone", leftFIFO},
	{"a full file system", fullDisk},
	{"a device that is full from the start", fullDevice},
	{"a terminal that hangs up", hungUp},
}
