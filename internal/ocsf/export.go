package ocsf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
)

// Export reads the records of files, "-" is stdin, and writes their events to out. What
// came before an error is in out too.
func Export(ctx context.Context, files []string, stdin io.Reader, out io.Writer) (*Counts, error) {
	exporter := New(out)
	err := evidence.Read(files, stdin, func(l evidence.Line) error {
		return errors.Join(ctx.Err(), exporter.Add(l.Raw))
	})
	if err := errors.Join(err, exporter.Flush()); err != nil {
		return nil, err
	}
	counts := exporter.Counts()
	return &counts, nil
}

// String says in one line what became of the lines.
func (c *Counts) String() string {
	text := fmt.Sprintf("exported: HTTP Activity %d, DNS Activity %d", c.HTTP, c.DNS)
	var not []string
	for _, event := range slices.Sorted(maps.Keys(c.Skipped)) {
		not = append(not, fmt.Sprintf("%s %d", event, c.Skipped[event]))
	}
	if c.OtherJSON > 0 {
		not = append(not, fmt.Sprintf("lines that are no records %d", c.OtherJSON))
	}
	if c.Partial > 0 {
		not = append(not, fmt.Sprintf("broken lines %d", c.Partial))
	}
	if len(not) > 0 {
		text += "; not exported: " + strings.Join(not, ", ")
	}
	return text
}
