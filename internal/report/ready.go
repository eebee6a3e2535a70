package report

import (
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report/doc"
)

// Readiness says of the functions in report mode whether their lists may be enforced yet.
type Readiness struct {
	Unknown   string // why nothing can be said of any; "": it can
	Functions []ReadyFunction
}

// ReadyFunction is a function in report mode. It is ready where no reason speaks against it.
type ReadyFunction struct {
	Name, Owner string
	Because     []string // why not yet
	Days, Runs  int      // on which it ran, and how often
	NewName     string   // the last name that was new; "": it asked for none
	Since       time.Time
}

// readySection says which functions may be enforced.
func (b *Builder) readySection() doc.Section {
	s := doc.Section{ID: "ready", Title: "Ready to enforce?"}
	if b.opt.Ready == nil {
		s.Notes = []string{"Not looked for: no policy file was given (--config)."}
		return s
	}
	r := b.opt.Ready()
	if r.Unknown != "" {
		s.Notes = []string{"It cannot be known, for what stands below."}
		s.Tables = []doc.Grid{{ID: "ready_unknown", Columns: doc.Columns("detail", "Why"), Rows: [][]doc.Cell{{doc.Text(r.Unknown)}}}}
		return s
	}
	s.Notes = []string{
		"Of each function that the policy file has in report mode: whether its list may be enforced, by what the records of the period show. A job that did not run in the period, and of whose schedule nobody has told (--schedules), is not known.",
	}
	g := doc.Grid{ID: "ready", Empty: "No function of the policy is in report mode.", Columns: doc.Columns("function", "Function", "owner", "Owner", "ready", "Ready", "because", "Why not yet",
		"days", "Days on which it ran", "runs", "Runs", "name", "Last new name", "first_seen", "First seen")}
	for _, f := range r.Functions {
		ready := "ready"
		if len(f.Because) > 0 {
			ready = "not yet"
		}
		g.Rows = append(g.Rows, []doc.Cell{
			doc.Text(f.Name), doc.Text(f.Owner), doc.Word(ready), doc.Text(strings.Join(f.Because, "; ")), doc.Num(f.Days), doc.Num(f.Runs), doc.Text(f.NewName), doc.At(f.Since),
		})
	}
	s.Tables = []doc.Grid{g}
	return s
}
