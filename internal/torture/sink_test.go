//go:build torture

package torture

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// sink is where the records of a round go: a file that is rotated, or the
// standard output of each process, which is read into a file for each.
type sink struct {
	mu      sync.RWMutex
	dir     string // of the record file
	keep    string // where files go that nothing writes to any more
	file    bool   // false: standard output
	mounted bool   // dir is a small file system of its own
	gen     int    // of the file that the path names now
	pipes   []string
}

// position is how long the records were: generation and length of the file. A
// record is behind it if it ends later in that file, or stands in a later one.
type position struct {
	gen  int
	size int64
}

// anywhere is the position of who cannot know: no record is behind it.
var anywhere = position{gen: math.MaxInt}

// smallDisk is how large the file system for records is.
const smallDisk = 48 << 20

// open begins a round's sink in a folder.
func (s *sink) open(dir string, file bool) (why string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dir, s.keep, s.file, s.gen, s.pipes = filepath.Join(dir, "disk"), dir, file, 0, nil
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return "", err
	}
	if !file {
		return "records go to standard output", nil
	}
	if err := unix.Mount("tmpfs", s.dir, "tmpfs", 0, fmt.Sprintf("size=%d", smallDisk)); err != nil {
		return fmt.Sprintf("mounting a small file system: %v", err), nil
	}
	s.mounted = true
	return "", nil
}

// path is what the policy has as audit.output.
func (s *sink) path() string {
	if !s.file {
		return "stdout"
	}
	return filepath.Join(s.dir, "records.jsonl")
}

// aside is where a rotated file of a generation stands at first.
func (s *sink) aside(gen int) string {
	return filepath.Join(s.dir, fmt.Sprintf("records.%04d.jsonl", gen))
}

// kept is where it ends up.
func (s *sink) kept(gen int) string {
	return filepath.Join(s.keep, fmt.Sprintf("records.%04d.jsonl", gen))
}

// mark returns the position now.
func (s *sink) mark() position {
	if !s.file {
		return anywhere
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var st unix.Stat_t
	if err := unix.Stat(s.path(), &st); err != nil {
		return position{gen: s.gen}
	}
	return position{s.gen, st.Size}
}

// rotate renames the file, as logrotate does before it sends SIGHUP.
func (s *sink) rotate() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.file {
		return nil
	}
	err := os.Rename(s.path(), s.aside(s.gen))
	if errors.Is(err, os.ErrNotExist) {
		return nil // the program has not come to make the new one yet
	}
	if err == nil {
		s.gen++
	}
	return err
}

// clear moves files that were rotated before the last one off the small disk.
func (s *sink) clear(all bool) error {
	s.mu.RLock()
	gen, file := s.gen, s.file
	s.mu.RUnlock()
	if !file {
		return nil
	}
	last := gen - 1
	if all {
		last = gen
	}
	for g := range last {
		if err := move(s.aside(g), s.kept(g)); err != nil {
			return err
		}
	}
	return nil
}

// move moves a file to another file system; one that is not there was moved.
func move(from, to string) error {
	in, err := os.Open(from)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err = io.Copy(out, in); err == nil {
		err = os.Remove(from)
	}
	return errors.Join(err, out.Close())
}

// close ends the sink of a round and returns its files in the order of their
// records, generation by generation.
func (s *sink) close() (files []string, err error) {
	if !s.file {
		return s.pipes, nil
	}
	if err := s.rotate(); err != nil {
		return nil, err
	}
	if err := s.clear(true); err != nil {
		return nil, err
	}
	if s.mounted {
		if err := unix.Unmount(s.dir, unix.MNT_DETACH); err != nil {
			return nil, fmt.Errorf("unmounting the small file system: %w", err)
		}
		s.mounted = false
	}
	for g := range s.gen {
		files = append(files, s.kept(g))
	}
	return files, nil
}

// fill takes all room of the small disk; free gives it back.
func (s *sink) fill() (free func(), err error) {
	name := filepath.Join(s.dir, "filler")
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	free = func() { _ = f.Close(); _ = os.Remove(name) }
	chunk := make([]byte, 64<<10)
	for len(chunk) > 0 {
		if _, err := f.Write(chunk); err != nil {
			chunk = chunk[:len(chunk)/2]
		}
	}
	return free, nil
}

// reader takes a process's standard output and can be stalled.
type reader struct {
	stalled atomic.Pointer[chan struct{}] // closed when it may go on; nil: it may
	done    chan struct{}                 // closed at the end of the stream
}

// read copies the stream of a process to a file of its own.
func (s *sink) read(stream io.ReadCloser) (*reader, error) {
	name := filepath.Join(s.keep, fmt.Sprintf("stdout.%04d.jsonl", len(s.pipes)))
	out, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	s.pipes = append(s.pipes, name)
	r := &reader{done: make(chan struct{})}
	go r.copy(out, stream)
	return r, nil
}

// copy reads the stream to its end.
func (r *reader) copy(out io.WriteCloser, stream io.ReadCloser) {
	defer close(r.done)
	defer out.Close()
	defer stream.Close()
	buf := make([]byte, 32<<10)
	for {
		if wait := r.stalled.Load(); wait != nil {
			<-*wait
		}
		n, err := stream.Read(buf)
		_, _ = out.Write(buf[:n])
		if err != nil {
			return
		}
	}
}

// stall makes the reader pause until the func that it returns is called.
func (r *reader) stall() (resume func()) {
	wait := make(chan struct{})
	r.stalled.Store(&wait)
	return func() { r.stalled.Store(nil); close(wait) }
}
