package report

import (
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report/doc"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report/tally"
)

// method is a way in which a caller was known, as records name it.
type method struct {
	word       string // of the records' via
	title      string
	credential bool // it was shown; else it is where the request came from
}

// methods are all there are. What is not here is counted as a request and by no
// method: TestEveryMethodOfIdentificationIsCounted finds it.
var methods = []method{
	{"certificate", "By certificate", true},
	{"token", "By token", true},
	{"source", "By source", false},
}

// methodsTable says how the requests of a function were known.
func methodsTable(g *tally.Group) doc.Grid {
	names := []string{"function", "Function", "owner", "Owner"}
	row := []doc.Cell{doc.Text(g.Function), doc.Text(g.Owner)}
	for _, m := range methods {
		names = append(names, "identified_by_"+m.word, m.title)
		row = append(row, doc.Num(g.Methods[m.word]))
	}
	return doc.Grid{ID: "function", Columns: doc.Columns(append(names, "suppressed", "Suppressed")...), Rows: [][]doc.Cell{append(row, doc.Num(g.Suppressed))}}
}

// byMethod adds up the requests of a function that were known by a credential, and
// by where they came from.
func byMethod(g *tally.Group) (credential, source uint64) {
	for _, m := range methods {
		if m.credential {
			credential += g.Methods[m.word]
		} else {
			source += g.Methods[m.word]
		}
	}
	return credential, source
}
