package finding

import "testing"

func TestTheZeroSeverityIsTheWorst(t *testing.T) {
	t.Parallel()
	var f Finding
	if f.Severity.String() != "high" || Severity(200).String() != "high" || High > Info {
		t.Errorf("%s, %s", f.Severity, Severity(200))
	}
	for _, word := range names {
		var s Severity
		if err := s.UnmarshalText([]byte(word)); err != nil || s.String() != word {
			t.Errorf("%s is read as %s: %v", word, s, err)
		}
	}
	if err := f.Severity.UnmarshalText([]byte("none")); err == nil {
		t.Error("a severity that is none is read")
	}
}

func TestSortPutsTheWorstFirst(t *testing.T) {
	t.Parallel()
	all := []Finding{{ID: "P02", Severity: Low}, {ID: "P01", Severity: Low}, {ID: "P03"}}
	if Sort(all); all[0].ID != "P03" || all[1].ID != "P01" {
		t.Errorf("%+v", all)
	}
}
