package localfile

import (
	"io/fs"
	"os"
	"time"
)

// Inside looks whether the file that a relative path leads to lies below a folder, whatever
// links are on the way; a link to an absolute path counts as one that leads out. An
// error is an *fs.PathError: it does not, or cannot be looked at.
func Inside(folder, below string, within time.Duration) error {
	_, err := bounded("stat", below, within, func() (fs.FileInfo, error) {
		root, err := os.OpenRoot(folder)
		if err != nil {
			return nil, err
		}
		defer func() { _ = root.Close() }() // nothing was written
		return root.Stat(below)
	})
	return err
}
