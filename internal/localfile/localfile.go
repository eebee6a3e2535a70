// Package localfile reads files of this machine of which somebody else says where they
// are, and never waits for one without end.
//
// What it does: it reads regular files alone, behind links of any kind. A FIFO, a
// socket, a device or a folder is an error that says what it is, before anything is
// opened that would wait for a writer. What is read is bounded in size and in time: a
// file on a mount whose server is gone is given up. No system call can be taken back,
// so what was given up goes on hanging; as long as it does, the same path fails at
// once, and there is a bound for all paths together.
//
// What it does not do: it watches nothing, caches nothing, and knows nothing of what
// is in a file.
//
//	data, err := localfile.Read("/etc/egress/egress.yaml", 64<<20, localfile.Timeout)
package localfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"
)

// Timeout is how long a file may take that nobody waits for but a load.
const Timeout = 20 * time.Second

// maxHanging bounds how many calls may hang at a time, each of which is a thread.
const maxHanging = 16

// What is wrong with a file, beside what the kernel says.
var (
	// ErrNotRegular says that a path leads to what is not a regular file.
	ErrNotRegular = errors.New("not a regular file")
	// ErrHangs says that the file system does not answer.
	ErrHangs = errors.New("the file system does not answer")
)

// Read returns what a regular file holds, at most one byte beyond most, so that whoever
// gets it can tell what is too large. An error is an *fs.PathError.
func Read(path string, most int64, within time.Duration) ([]byte, error) {
	return bounded("open", path, within, func() ([]byte, error) { return read(path, most) })
}

// Stat is os.Stat, with an end.
func Stat(path string, within time.Duration) (fs.FileInfo, error) {
	return bounded("stat", path, within, func() (fs.FileInfo, error) { return os.Stat(path) })
}

// read looks before it opens, for to open is already too much for some devices, and
// again at what it has opened.
func read(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if err := regular(path, info); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	if info, err = f.Stat(); err != nil {
		return nil, err
	}
	if err := regular(path, info); err != nil {
		return nil, err
	}
	// It makes room once: a buffer that grows leaves several times the file to the
	// collector. And with make, which need not clear what the kernel has just given:
	// Grow does, in one piece that the collector cannot interrupt and waits for.
	data := bytes.NewBuffer(make([]byte, 0, int(min(info.Size(), most))+bytes.MinRead))
	_, err = data.ReadFrom(io.LimitReader(f, most+1))
	return data.Bytes(), err
}

// regular returns an error that says what a file is that is not a regular one.
func regular(path string, info fs.FileInfo) error {
	var kind string
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		kind = "a folder"
	case mode&fs.ModeNamedPipe != 0:
		kind = "a FIFO"
	case mode&fs.ModeSocket != 0:
		kind = "a socket"
	case mode&fs.ModeDevice != 0:
		kind = "a device"
	default:
		kind = "something else"
	}
	return &fs.PathError{Op: "open", Path: path, Err: fmt.Errorf("it is %s, %w", kind, ErrNotRegular)}
}

// hanging has the calls that were given up and have not returned, by path.
var hanging = struct {
	sync.Mutex
	calls map[string]int
	all   int
}{calls: map[string]int{}}

// bounded runs f, and gives it up when it takes longer than within.
func bounded[T any](op, path string, within time.Duration, f func() (T, error)) (T, error) {
	var none T
	if err := mayHang(path); err != nil {
		return none, &fs.PathError{Op: op, Path: path, Err: err}
	}
	var c call
	var result T
	var err error
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		result, err = f()
		c.end(path)
	}()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-returned:
		return result, err
	case <-timer.C:
		c.giveUp(path)
		return none, &fs.PathError{Op: op, Path: path, Err: fmt.Errorf("%w within %v", ErrHangs, within)}
	}
}

// mayHang returns an error where a call on the path would be one too many.
func mayHang(path string) error {
	hanging.Lock()
	defer hanging.Unlock()
	switch {
	case hanging.calls[path] > 0:
		return fmt.Errorf("%w to the call before this one", ErrHangs)
	case hanging.all >= maxHanging:
		return fmt.Errorf("%w to %d calls before this one", ErrHangs, hanging.all)
	default:
		return nil
	}
}

// call is one call of the kernel. Its fields are guarded by hanging.
type call struct{ ended, givenUp bool }

// giveUp counts a call as hanging, unless it has just ended.
func (c *call) giveUp(path string) {
	hanging.Lock()
	defer hanging.Unlock()
	if c.ended {
		return
	}
	c.givenUp = true
	hanging.calls[path]++
	hanging.all++
}

// end ends a call, and with it the hanging of one that was given up.
func (c *call) end(path string) {
	hanging.Lock()
	defer hanging.Unlock()
	c.ended = true
	if !c.givenUp {
		return
	}
	hanging.all--
	if hanging.calls[path]--; hanging.calls[path] == 0 {
		delete(hanging.calls, path)
	}
}
