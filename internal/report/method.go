package report

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
func (g *group) methodsTable() grid {
	names := []string{"function", "Function", "owner", "Owner"}
	row := []cell{text(g.function), text(g.owner)}
	for _, m := range methods {
		names = append(names, "identified_by_"+m.word, m.title)
		row = append(row, num(g.via[m.word]))
	}
	return grid{id: "function", columns: columns(append(names, "suppressed", "Suppressed")...), rows: [][]cell{append(row, num(g.suppressed))}}
}

// known adds up the requests of a function that were known by a credential, and
// by where they came from.
func (g *group) known() (credential, source uint64) {
	for _, m := range methods {
		if m.credential {
			credential += g.via[m.word]
		} else {
			source += g.via[m.word]
		}
	}
	return credential, source
}
