package policydoc

import (
	"path"
	"strings"
	"testing"
)

// path.Match is slower and knows no case, but has the same stars where no slash is.
func TestMatchIsPathMatchWithoutCase(t *testing.T) {
	t.Parallel()
	parts := []string{"", "a", "b", "*", "?", "ab", "a*", "*b", "**"}
	for _, x := range parts {
		for _, y := range parts {
			for _, z := range parts {
				pattern := x + y + z
				for _, text := range []string{"", "a", "b", "ab", "ba", "aab", "abab", "bbb", "abba"} {
					want, err := path.Match(pattern, text)
					if err != nil {
						t.Fatal(err)
					}
					if got := Match(strings.ToUpper(pattern), text); got != want {
						t.Errorf("%q and %q: %t, want %t", pattern, text, got, want)
					}
				}
			}
		}
	}
}

func TestMatchOfManyStarsEnds(t *testing.T) {
	t.Parallel()
	if Match(strings.Repeat("*a", 2000)+"b", strings.Repeat("a", 20000)) {
		t.Error("it matches")
	}
}

func TestWhatIsNoPolicyIsRefusedWhole(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "null", "[]", "{}", `{"Statement":[]}`, `{"Statement":[{}]}`, `{"Statement":[{"Effect":"Permit"}]}`, `{"Statement":[{"Effect":"Allow","Unless":1}]}`,
		`{"Statement":{"Effect":"Allow","Principal":7}}`, `{"Statement":{"Effect":"Allow","Action":{"a":1}}}`, `{"Statement":"Allow"}`, `{"Other":1}`,
	} {
		if doc, err := Parse(text); err == nil || doc != nil {
			t.Errorf("%s is read as %+v", text, doc)
		}
	}
}

func TestOneOrManyIsTheSame(t *testing.T) {
	t.Parallel()
	one, err1 := Parse(`{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*","Principal":{"AWS":"*"}}}`)
	many, err2 := Parse(`{"Statement":[{"Effect":"Allow","Action":["s3:*"],"Resource":["*"],"Principal":{"AWS":["*"]}}]}`)
	if err1 != nil || err2 != nil || len(one) != 1 || len(many) != 1 || !one[0].Open() || !many[0].Open() || !one[0].Covers("s3:PutObject") || !many[0].Anywhere() {
		t.Errorf("%+v %v, %+v %v", one, err1, many, err2)
	}
}

// The zero statement allows nothing.
func TestTheZeroStatementCoversNothing(t *testing.T) {
	t.Parallel()
	var s Statement
	if s.Allow || s.Covers("s3:GetObject") || s.Open() || len(Allowed([]Statement{s}, "s3:GetObject")) != 0 {
		t.Errorf("%+v", s)
	}
}
