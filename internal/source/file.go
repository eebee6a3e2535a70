package source

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/localfile"
)

const (
	// lookTimeout is how long a look at one file may take: a file system that does not
	// answer must neither hide what changes elsewhere nor hold up the end.
	lookTimeout = time.Second
	// alwaysRead is how large a file may be whose content is compared at each look, in
	// bytes: the times of some file systems say nothing, or can be set back.
	alwaysRead = 1 << 20
	// clockTick is more than the clock of any file system takes from one time to the
	// next (2 s in FAT). What is written twice within it can have the same times.
	clockTick = 3 * time.Second
	// largestRead is how much of a file is compared.
	largestRead = 1 << 30
)

// fileState is what tells one state of a file from another.
type fileState struct {
	seen    string // the file that the path leads to, size and times; or that it cannot be seen
	content string // a hash of it; "": it was not read
}

// stateNow returns how a file is, now that it has not been looked at before. The content
// of a large one is part of that only while its times are so young that they could stay
// what they are when it is written again.
func stateNow(path string) fileState {
	s, info := seen(path)
	if info != nil && (info.Size() <= alwaysRead || !timesSuffice(info)) {
		s.content = contentOf(path)
	}
	return s
}

// again returns how a file is that was so before. Where the content was read then it is
// read again, unless the file is another by everything else.
func (s fileState) again(path string) fileState {
	now, info := seen(path)
	if s.content != "" && info != nil && now.seen == s.seen {
		now.content = contentOf(path)
	}
	return now
}

// unread returns the state without the content of a large file whose times have become
// old enough to tell that it was written.
func (s fileState) unread(path string) fileState {
	if now, info := seen(path); info != nil && now.seen == s.seen && info.Size() > alwaysRead && timesSuffice(info) {
		s.content = ""
	}
	return s
}

// String says it in one word, for a comparison.
func (s fileState) String() string { return s.seen + " " + s.content }

// seen looks at a file; the info of one that cannot be seen is nil.
func seen(path string) (fileState, fs.FileInfo) {
	info, err := localfile.Stat(path, lookTimeout)
	switch {
	case errors.Is(err, localfile.ErrHangs):
		return fileState{seen: "no answer"}, nil
	case err != nil:
		return fileState{seen: "missing"}, nil
	}
	return fileState{seen: fmt.Sprintf("%s %d %d %d", identity(info), info.Size(), info.ModTime().UnixNano(), statusTime(info).UnixNano())}, info
}

// timesSuffice reports whether the times of a file would be others if it were written again:
// they are there, and not of this moment, by the clock of its file system.
func timesSuffice(info fs.FileInfo) bool {
	at := statusTime(info)
	return !at.IsZero() && time.Since(at) >= clockTick && time.Since(info.ModTime()) >= clockTick
}

// contentOf returns a hash of what is in a file, or that it cannot be read.
func contentOf(path string) string {
	data, err := localfile.Read(path, largestRead, lookTimeout)
	if err != nil {
		return "unreadable"
	}
	return fmt.Sprintf("%x", sha256.Sum256(data))
}
