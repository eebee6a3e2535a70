// Package source says when what a configuration was read from has changed, and
// reads one that is not a file of this machine.
//
// What it does: it polls, because inotify sees neither a swapped symlink above
// the file nor a change on the far side of a bind mount, and says once for
// every change when the files have come to rest. An atomic rename, a swapped
// symlink and a file that is truncated and written again all end in one call,
// and so does what changed between the reading of it and the first poll. A file is
// the same while it is the same inode with the same size and times, of which one
// cannot be set; where these could be the same for another content (it is not long
// since it was written, or it is small enough to look), the content is compared.
// A Remote does the same for objects of S3 and of HTTP servers, by their ETag,
// and reads them. Of a prefix of S3 it reads what the manifest there names and nothing
// else, and the manifest alone says that something has changed.
//
// What it does not do: it does not judge what the files hold, and a Watcher does
// not read them. A file that cannot be read is a change too; the reader reports
// it.
//
//	var w source.Watcher
//	w.Begin()
//	w.Reading("egress.yaml") // and then it is read
//	…
//	w.Run(ctx, reload)
//
//	r, err := source.NewRemote(ctx, "s3://bucket/egress.yaml", source.RemoteOptions{})
//	…
//	data, open, err := r.Load(ctx)
//	…
//	r.Run(ctx, reload)
package source

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Watcher says when a file of this machine has changed since it was read. The
// zero Watcher is ready. It is safe for one load at a time, beside one Run.
type Watcher struct {
	// Every is the time between two polls; zero or less: one second.
	Every time.Duration

	mu   sync.Mutex
	load int             // how many loads have begun
	read map[string]held // each file of the last one, just before it was read
}

// Begin begins a load: what was read for the one before is not watched any more.
func (w *Watcher) Begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.load++
	w.read = map[string]held{}
}

// Reading notes how a file is. Call it before the file is opened, so that a
// change while it is read, or before Run is called, is one too. A file that is
// missing is watched until it is there.
func (w *Watcher) Reading(path string) {
	now := holding(stateNow(path))
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.read == nil {
		w.read = map[string]held{}
	}
	w.read[path] = now
}

// Run polls until ctx ends. It calls changed from its own goroutine when a file
// that the last load read is another than it was then, and was so in two polls:
// a file that is still being written is not read, and a bad one is told once.
func (w *Watcher) Run(ctx context.Context, changed func()) {
	every := w.Every
	if every <= 0 {
		every = time.Second
	}
	poll(ctx, every, w.look, changed)
}

// look returns what tells one outcome from another, and whether a file differs
// from what the last load read.
func (w *Watcher) look(ctx context.Context) (now string, differs bool) {
	w.mu.Lock()
	read, load := maps.Clone(w.read), w.load
	w.mu.Unlock()
	now, differs = compare(ctx, load, read, func(path string, then held) string { return then.file.again(path).String() })
	if !differs && ctx.Err() == nil {
		w.forgetContent(load, read)
	}
	return now, differs
}

// forgetContent forgets the content of large files that have been the same for long enough, so
// that they are not read at each look.
func (w *Watcher) forgetContent(load int, read map[string]held) {
	for path, h := range read {
		if next := h.file.unread(path); next != h.file {
			w.mu.Lock()
			if w.load == load {
				w.read[path] = holding(next)
			}
			w.mu.Unlock()
		}
	}
}

// holding is what is remembered of a file.
func holding(s fileState) held { return held{state: s.String(), file: s} }

// poll calls changed when look says, twice in a row and with the same outcome,
// that something differs.
func poll(ctx context.Context, every time.Duration, look func(context.Context) (now string, differs bool), changed func()) {
	// Not a ticker: two polls of one that is late can be next to each other, and
	// what rests for that short need not be at rest.
	next := time.NewTimer(every)
	defer next.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		now, differs := look(ctx)
		next.Reset(every)
		switch {
		case ctx.Err() != nil:
			return
		case !differs || now != last:
			last = now
		default:
			changed()
			last = ""
		}
	}
}

// compare asks for the state of everything that a load read, and returns what
// tells one outcome from another, and whether a state is not the one of then. When ctx
// ends it asks for no more.
func compare(ctx context.Context, load int, read map[string]held, now func(path string, then held) string) (outcome string, differs bool) {
	var b strings.Builder
	fmt.Fprintf(&b, "load %d\n", load)
	for _, path := range slices.Sorted(maps.Keys(read)) {
		if ctx.Err() != nil {
			break
		}
		then := read[path]
		state := now(path, then)
		differs = differs || state != then.state
		fmt.Fprintf(&b, "%q %s\n", path, state)
	}
	return b.String(), differs
}
