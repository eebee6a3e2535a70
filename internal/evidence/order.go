package evidence

import (
	"errors"
	"slices"
	"time"
)

// errEnough ends the look at the beginning of a file.
var errEnough = errors.New("enough has been read")

// InTimeOrder returns the files by their first record, so that what belongs
// together is met in order. Standard input can be read once only: with it among
// them they stay as they are. A file that cannot be read is said to be so later.
func InTimeOrder(files []string) []string {
	sorted := slices.Clone(files)
	if len(files) < 2 || slices.Contains(files, "-") {
		return sorted
	}
	first := map[string]time.Time{}
	for _, file := range files {
		lines := 0
		_ = Read([]string{file}, nil, func(l Line) error {
			r, err := Parse(l.Raw)
			if err == nil {
				first[file] = r.Time
			}
			if lines++; err == nil || lines >= 1000 {
				return errEnough
			}
			return nil
		})
	}
	slices.SortStableFunc(sorted, func(a, b string) int { return first[a].Compare(first[b]) })
	return sorted
}
