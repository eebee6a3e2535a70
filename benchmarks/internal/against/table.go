package against

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/stats"
)

// Table returns the result as a page.
func (r *Result) Table(machine string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Two builds\n\nOld: %s. New: %s. %s.\n%d rounds, interleaved, in %.0f s.\n\n", r.Old, r.New, machine, r.Rounds, r.Seconds)
	if r.Old.String() == r.New.String() {
		b.WriteString("Both are the same revision: the ratios show the noise of the method.\n\n")
	}
	fmt.Fprintf(&b, "| figure | old: min, median, max | new: min, median, max | new/old | 95%% interval | beside %.2f |\n|---|---|---|---|---|---|\n", r.Limit)
	for _, f := range r.Figures {
		before, after := f.spreads()
		fmt.Fprintf(&b, "| %s | %s | %s | ", f.Name, three(before), three(after))
		switch {
		case f.Error != "":
			fmt.Fprintf(&b, "– | – | %s |\n", f.Error)
		case f.Ratio.Above(r.Limit):
			fmt.Fprintf(&b, "%.3f | %.3f to %.3f | above |\n", f.Ratio.Ratio, f.Ratio.Low, f.Ratio.High)
		default:
			fmt.Fprintf(&b, "%.3f | %.3f to %.3f | |\n", f.Ratio.Ratio, f.Ratio.Low, f.Ratio.High)
		}
	}
	for _, missing := range r.Missing {
		fmt.Fprintf(&b, "\nNot measured: %s.\n", missing)
	}
	for _, e := range r.Errors {
		fmt.Fprintf(&b, "\nFailed: %s\n", e)
	}
	return b.String()
}

// Write writes the table and the pairs into a folder.
func (r *Result) Write(dir, machine string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "against.json"), append(raw, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "against.md"), []byte(r.Table(machine)), 0o644)
}

// spreads returns the spread of each build.
func (f Figure) spreads() (before, after stats.Spread) {
	var olds, news []float64
	for _, p := range f.Pairs {
		olds, news = append(olds, p.Old), append(news, p.New)
	}
	return stats.SpreadOf(olds), stats.SpreadOf(news)
}

// three prints a spread.
func three(s stats.Spread) string {
	return digits(s.Min) + ", " + digits(s.Median) + ", " + digits(s.Max)
}

// digits prints four digits or so.
func digits(f float64) string {
	if f >= 1000 {
		return fmt.Sprintf("%.0f", f)
	}
	return fmt.Sprintf("%.4g", f)
}
