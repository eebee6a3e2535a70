package report

import (
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report/doc"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report/tally"
)

// methodsTable says how the requests of a function were known.
func methodsTable(g *tally.Group) doc.Grid {
	names := []string{"function", "Function", "owner", "Owner"}
	row := []doc.Cell{doc.Text(g.Function), doc.Text(g.Owner)}
	for _, m := range identity.Methods() {
		names = append(names, "identified_by_"+m.String(), "By "+m.String())
		row = append(row, doc.Num(g.Methods[m.String()]))
	}
	return doc.Grid{ID: "function", Columns: doc.Columns(append(names, "suppressed", "Suppressed")...), Rows: [][]doc.Cell{append(row, doc.Num(g.Suppressed))}}
}

// byMethod adds up the requests of a function that were known by a credential, and
// by where they came from.
func byMethod(g *tally.Group) (credential, source uint64) {
	for _, m := range identity.Methods() {
		if m.IsCredential() {
			credential += g.Methods[m.String()]
		} else {
			source += g.Methods[m.String()]
		}
	}
	return credential, source
}
