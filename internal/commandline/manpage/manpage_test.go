package manpage

import "testing"

func TestLinesOfTheManualThatBeginLikeRequestsAreText(t *testing.T) {
	if got, want := roff(".TH a\n'b\\c-d"), "\\&.TH a\n\\&'b\\ec\\-d"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
