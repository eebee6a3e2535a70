package reach

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/printable"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// WriteJSON writes the answer as one JSON document; what a terminal would not print is
// escaped.
func (a *Answer) WriteJSON(out io.Writer) error {
	return printable.WriteJSON(out, a)
}

// Write writes a line for each function that may reach the target, and a last one that
// says how many there are.
func (a *Answer) Write(out io.Writer) error {
	var b strings.Builder
	for _, f := range a.Functions {
		b.WriteString(a.line(f))
	}
	switch n := len(a.Functions); {
	case a.Self:
		fmt.Fprintf(&b, "no function may reach %s: the proxy itself listens there\n", a.Target)
	case a.DeniedBy != nil:
		fmt.Fprintf(&b, "no function may reach %s: %s has it, %s\n", a.Target, a.DeniedBy.Path, a.place(a.DeniedBy))
	case n == 0:
		fmt.Fprintf(&b, "no function may reach %s, of %d\n", a.Target, a.Total)
	default:
		fmt.Fprintf(&b, "%d of %d functions may reach %s\n", n, a.Total, a.Target)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// line says by which rule one function may reach the target.
func (a *Answer) line(f Function) string {
	s := f.Name
	if f.Owner != "" {
		s += fmt.Sprintf(" (%q)", f.Owner)
	}
	if f.Verdict == verdict.Report.String() {
		return s + ": report mode until " + f.ReportUntil + "; by the list alone: " + f.Reason + "\n"
	}
	s += ": " + f.Rule.Path + ", " + a.place(f.Rule) + ", tls: " + f.Rule.TLS
	if len(f.Rule.Addresses) > 0 {
		s += fmt.Sprintf(", addresses: %v", f.Rule.Addresses)
	}
	if f.Rule.Expires != "" {
		s += ", expires: " + f.Rule.Expires
	}
	return s + "\n"
}

// place says where a rule stands and what it covers.
func (a *Answer) place(r *Rule) string {
	file := a.File
	if r.File != "" {
		file = filepath.Join(filepath.Dir(file), r.File)
	}
	return fmt.Sprintf("%s:%d: %s", file, r.Line, r.Covers)
}
