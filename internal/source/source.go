// Package source says when what a configuration was read from has changed, and
// reads one that is not a file of this machine.
//
// What it does: it polls, because inotify sees neither a swapped symlink above
// the file nor a change on the far side of a bind mount, and says once for
// every change when the files have come to rest. An atomic rename, a swapped
// symlink and a file that is truncated and written again all end in one call.
// A Remote does the same for objects of S3 and of HTTP servers, by their ETag,
// and reads them.
//
// What it does not do: it does not judge what the files hold, and a Watcher does
// not read them. A file that cannot be read is a change too; the reader reports
// it.
//
//	w := source.Watcher{Files: cfg.Files, Changed: reload}
//	w.Run(ctx)
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
	"os"
	"strings"
	"time"
)

// Watcher calls Changed when a file has changed. Files and Changed are
// required.
type Watcher struct {
	// Files returns the paths to watch. It is asked at every poll, so that what
	// Changed loads can name other files.
	Files func() []string

	// Changed is called from Run's goroutine after a change, once the files look
	// the same in two polls: a file that is still being written is not read.
	Changed func()

	// Every is the time between two polls; zero or less: one second.
	Every time.Duration
}

// Run polls until ctx ends. What the files are when it is called counts as
// known.
func (w *Watcher) Run(ctx context.Context) {
	every := w.Every
	if every <= 0 {
		every = time.Second
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	known := look(w.Files())
	last := known
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := look(w.Files())
		if now == last && now != known {
			w.Changed()
			known = look(w.Files())
			now = known
		}
		last = now
	}
}

// look returns what tells one state of the files from another: for each the
// file that the path leads to, its size and its time of change, or that it
// cannot be seen.
func look(files []string) string {
	var b strings.Builder
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			fmt.Fprintf(&b, "%q missing\n", f)
			continue
		}
		fmt.Fprintf(&b, "%q %s %d %d\n", f, identity(info), info.Size(), info.ModTime().UnixNano())
	}
	return b.String()
}
