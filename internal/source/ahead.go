package source

import (
	"context"
	"sync"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/source/manifest"
)

const (
	// atOnce is how many objects of a folder are asked for at the same time.
	atOnce = 8
	// maxHeld is how many bytes are held that nobody has asked for yet.
	maxHeld = 32 << 20
)

// outcome is what came of reading an object.
type outcome struct {
	answer *answer
	err    error
}

// ahead reads the files of a manifest a few at a time: the one that is asked for, and beside
// it those that the manifest names behind it, for that is the order in which a policy reads
// them. Whether they are as they are named is looked at when they are asked for: until then
// one that fails is no failure of the load. It is for one caller at a time, who waits for
// all that it begins.
type ahead struct {
	remote   *Remote
	manifest *manifest.Manifest
	begun    map[string]bool    // which were read, or are being
	held     map[string]outcome // of those that nobody has asked for yet
	bytes    int                // of held, as the manifest has them
}

// read returns what came of reading a file. One that the manifest does not name is not read.
func (h *ahead) read(ctx context.Context, path string) outcome {
	f, err := h.manifest.File(path)
	if err != nil {
		return outcome{err: err}
	}
	if is, ok := h.held[path]; ok {
		delete(h.held, path)
		h.bytes -= f.Size
		return is
	}
	behind := h.next(path)
	all := make([]outcome, len(behind))
	var wait sync.WaitGroup
	for i, f := range behind {
		wait.Go(func() { all[i].answer, all[i].err = h.remote.request(ctx, f.Path, f.Size) })
	}
	is := h.single(ctx, path)
	wait.Wait()
	for i, f := range behind {
		h.held[f.Path] = all[i]
	}
	return is
}

// single reads a file and none beside it.
func (h *ahead) single(ctx context.Context, path string) (is outcome) {
	f, err := h.manifest.File(path)
	if err != nil {
		return outcome{err: err}
	}
	h.begun[path] = true
	is.answer, is.err = h.remote.request(ctx, path, f.Size)
	return is
}

// next takes the files that are read beside one: those behind it that nobody has read, as
// many as may be held.
func (h *ahead) next(path string) (all []manifest.File) {
	for f := range h.manifest.Behind(path) {
		if h.begun[f.Path] {
			continue
		}
		if len(all) == atOnce-1 || h.bytes+f.Size > maxHeld {
			return all
		}
		h.begun[f.Path] = true
		h.bytes += f.Size
		all = append(all, f)
	}
	return all
}
