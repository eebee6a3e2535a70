// Package result writes what a probe found: as text, as JSON, as one event of OCSF, and as
// one line of metrics.
//
// What it does: each format says the verdict first. What answered may have chosen words of
// an answer: they are shown, and act on no terminal.
//
// What it does not do: it judges nothing.
//
//	err := result.Write(os.Stdout, report, result.Text, &result.About{Version: "1.2.3"})
package result

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/emf"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/probe"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/printable"
)

// Format is how a report is written.
type Format string

// The formats. All but Text are one line a probe.
const (
	Text Format = "text"
	JSON Format = "json"
	OCSF Format = "ocsf" // a Compliance Finding, class 2003
	EMF  Format = "emf"  // FenceHolds and ProbeControl, for CloudWatch
)

// Formats are the words of the formats.
func Formats() []string { return []string{string(Text), string(JSON), string(OCSF), string(EMF)} }

// errFormat is returned for a word that is no format.
var errFormat = errors.New("no such format")

// About says who probed where.
type About struct {
	Version    string // of the program
	Deployment string // the dimension of the metrics, and the resource of the event; "": none
}

// Write writes a report.
func Write(out io.Writer, r *probe.Report, f Format, about *About) error {
	var line []byte
	var err error
	switch f {
	case Text:
		line = []byte(text(r))
	case JSON:
		line, err = json.Marshal(r)
	case OCSF:
		line, err = convert(r, about).Line()
	case EMF:
		line, err = emf.Line(r.Made, about.Deployment, metrics(r))
	default:
		err = fmt.Errorf("%q: %w", f, errFormat)
	}
	if err != nil {
		return err
	}
	if f == JSON || f == EMF {
		line = append(printable.AppendJSON(nil, line), '\n')
	}
	if _, err := out.Write(line); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// metrics are FenceHolds, 1 where it does and 0 where that is not shown, and ProbeControl,
// whether what should work did. A probe that can say nothing about the fence has no
// FenceHolds: an alarm has to take missing data for bad.
func metrics(r *probe.Report) map[string]float64 {
	switch r.Verdict {
	case probe.Sound:
		return map[string]float64{"FenceHolds": 1, "ProbeControl": 1}
	case probe.Hole, probe.Unclear:
		return map[string]float64{"FenceHolds": 0, "ProbeControl": 1}
	default:
		return map[string]float64{"ProbeControl": 0}
	}
}

// text writes for a terminal: the headline, each hole with its cure, and all tries.
func text(r *probe.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", visible(r.Headline))
	for i := range r.Findings {
		if f := &r.Findings[i]; f.Class == probe.Open {
			fmt.Fprintf(&b, "%s: %s.\n  cure: %s\n\n", f.Way, f.Hole, f.Cure)
		}
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		took := time.Duration(f.Elapsed) * time.Millisecond
		fmt.Fprintf(&b, "%-9s  %-16s  %s: %s (%v)\n", f.Class, f.Way, visible(f.Target), visible(f.Detail), took)
	}
	for _, w := range r.Untried {
		fmt.Fprintf(&b, "%-9s  %s\n", probe.NotTried, w)
	}
	return b.String()
}

// visible replaces what does not print.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
