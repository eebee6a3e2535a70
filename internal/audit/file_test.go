package audit

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// childVariable makes the test binary act as a process with records on its
// standard output; see TestMain.
const childVariable = "AUDIT_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(child())
	}
	os.Exit(m.Run())
}

// child waits for a byte on standard input, records once on standard output
// and exits with 42 if that was refused for EPIPE.
func child() int {
	_, _ = os.Stdin.Read(make([]byte, 1))
	l, err := Open("stdout", Options{})
	if err != nil {
		return 1
	}
	err = l.Record(refusal("a.example"))
	if errors.Is(err, ErrUnavailable) && errors.Is(err, unix.EPIPE) {
		return 42
	}
	return 2
}

// mustOpen opens a log that is closed with the test.
func mustOpen(t *testing.T, output string, o Options) *Log {
	t.Helper()
	l, err := Open(output, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// read returns the content of a file.
func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAFileIsCreatedForItsGroupAndAppendedTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	var want []byte
	for range 2 {
		l := mustOpen(t, path, Options{})
		if err := l.Record(refusal("a.example")); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		got := read(t, path)
		if !bytes.HasPrefix(got, want) {
			t.Errorf("it was not appended to: %s", got)
		}
		verify(t, got[len(want):], l.Process())
		want = got
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&^0o640 != 0 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestALineThatADeadProcessLeftIsEndedFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	const left = `{"time":"2026-03-04T05:06`
	if err := os.WriteFile(path, []byte(left), 0o600); err != nil {
		t.Fatal(err)
	}
	l := mustOpen(t, path, Options{})
	if err := l.Record(refusal("a.example")); err != nil {
		t.Fatal(err)
	}
	rest, ok := bytes.CutPrefix(read(t, path), []byte(left+"\n"))
	if !ok {
		t.Fatalf("the first record does not begin a line: %s", read(t, path))
	}
	if len(verify(t, rest, l.Process())) != 1 {
		t.Errorf("records: %s", rest)
	}
}

func TestAFileThatCannotBeOpenedIsAnError(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", dir, filepath.Join(dir, "missing", "records"), fifo} {
		if l, err := Open(path, Options{}); err == nil {
			t.Errorf("%q was opened: %v", path, l)
		}
	}
}

func TestAFullDeviceRefusesAndIsCounted(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full here")
	}
	l := mustOpen(t, "/dev/full", Options{})
	for range 3 {
		if err := l.Record(refusal("a.example")); !errors.Is(err, ErrUnavailable) || !errors.Is(err, unix.ENOSPC) {
			t.Errorf("Record: %v", err)
		}
	}
	if l.Healthy() || l.Lost() != 3 {
		t.Errorf("healthy: %v, %d lost", l.Healthy(), l.Lost())
	}
}

// pipeLog returns a log that writes to a pipe, and the end to read from.
func pipeLog(t *testing.T, o Options) (*Log, *os.File) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	l := mustOpen(t, path, o)
	makeBlocking(t, path)
	return l, r
}

// makeBlocking makes this process's descriptor that writes to path block, as
// standard output does, which is shared with others.
func makeBlocking(t *testing.T, path string) {
	t.Helper()
	var want, got unix.Stat_t
	if err := unix.Stat(path, &want); err != nil {
		t.Fatal(err)
	}
	for fd := range 4096 {
		if unix.Fstat(fd, &got) != nil || got.Dev != want.Dev || got.Ino != want.Ino {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil || flags&unix.O_ACCMODE != unix.O_WRONLY {
			continue
		}
		if err := unix.SetNonblock(fd, false); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no descriptor writes to %s", path)
}

func TestAPipeThatNobodyReadsRefusesInTimeAndRecovers(t *testing.T) {
	for _, mode := range []Failure{Refuse, Count} {
		l, r := pipeLog(t, Options{OnFailure: mode, Timeout: 500 * time.Millisecond}) // a machine that is slower makes it stall
		failed, recorded := uint64(0), uint64(0)
		for l.Lost() < 4 { // a write that blocks for ever is the failure of this test
			if err := l.Record(refusal("a.example")); err == nil {
				recorded++
			} else if failed++; !errors.Is(err, ErrUnavailable) {
				t.Fatal(err)
			}
		}
		if l.Healthy() != (mode == Count) || mode == Refuse && failed != l.Lost() || mode == Count && failed != 0 {
			t.Errorf("%v: healthy: %v, %d errors, %d lost", mode, l.Healthy(), failed, l.Lost())
		}
		stream := make(chan []byte)
		go func() {
			b, _ := io.ReadAll(r)
			stream <- b
		}()
		for l.Probe() != nil { // the reader makes room
		}
		if !l.Healthy() {
			t.Errorf("%v: not healthy after recovery", mode)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		rows := verify(t, <-stream, l.Process())
		if mode == Count {
			recorded -= l.Lost()
		}
		if last := rows[len(rows)-1]; uint64(len(rows)) != recorded+1 || last.Event != "heartbeat" || last.Lost != l.Lost() {
			t.Errorf("%v: %d records, want %d; the last is %+v", mode, len(rows), recorded+1, last)
		}
	}
}

func TestAReaderThatIsGoneIsAnErrorAndNotTheEndOfTheProcess(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = stdout.Close()
	if _, err := stdin.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 42 {
		t.Errorf("the process ended with %v", err)
	}
}

func TestReopenOfStandardOutputDoesNothing(t *testing.T) {
	l := mustOpen(t, "stdout", Options{})
	if err := errors.Join(l.Reopen(), l.Probe(), l.Close()); err != nil {
		t.Error(err)
	}
	if _, err := unix.FcntlInt(1, unix.F_GETFD, 0); err != nil {
		t.Errorf("standard output was closed: %v", err)
	}
}
