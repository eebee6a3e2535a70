package output

import (
	"bufio"
	_ "embed"
	"fmt"
	"html/template"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/summary"
)

// page is the template of the page. It has no asset from elsewhere; its one script filters
// the tables.
//
//go:embed page.html
var page string

// arrow is a line of the picture: a way out, with how thick it is drawn and where.
type arrow struct {
	Label  string
	Count  int
	Y      int
	Thick  int
	Behind bool
}

// view is what the template is given.
type view struct {
	*Report
	Counts string
	Arrows []arrow
	Height int
}

// rowHeight is the distance of two arrows of the picture.
const rowHeight = 34

// writeHTML writes the page.
func writeHTML(w *bufio.Writer, r *Report) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"few": few, "visible": visible, "place": place, "join": func(all []string) string { return strings.Join(all, ", ") },
		"rest": func(f finding.Finding) [][2]string { return lines(&f) },
		"at":   func(f finding.Finding) string { return place(&f) },
	}).Parse(page)
	if err != nil {
		return fmt.Errorf("the page: %w", err)
	}
	arrows := picture(r.Summary)
	return t.Execute(w, view{r, counts(r.Summary), arrows, rowHeight*len(arrows) + 20})
}

// picture draws an arrow for the gate, one for each way round it, and one for what nobody
// knows.
func picture(s *summary.Summary) (out []arrow) {
	add := func(label string, count int, behind bool) {
		thick := 2
		if s.Total > 0 {
			thick += 12 * count / s.Total
		}
		out = append(out, arrow{label, count, rowHeight*len(out) + 26, thick, behind})
	}
	add("the gate", s.Behind, true)
	for _, way := range s.Ways {
		add(way.ID+" "+way.Title, way.Functions, false)
	}
	if s.Unknown > 0 {
		add("nobody knows", s.Unknown, false)
	}
	return out
}
