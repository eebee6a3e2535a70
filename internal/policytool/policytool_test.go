package policytool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
)

// hash returns the text of a token's hash that is made of one digit.
func hash(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }

// fill puts hashes for <1>, <2>, … <f>, and ends lines as the file should.
func fill(text string) string {
	for i := range 16 {
		digit := fmt.Sprintf("%x", i)
		text = strings.ReplaceAll(text, "<"+digit+">", hash(digit))
	}
	return text
}

// around is a policy in which the identify of billing is the given text.
func around(identify string) string {
	return fill("# Kept.\nversion: 1\nfunctions:\n  nightly: {identify: {tokens: [<e>]}, allow: []} # Kept, too.\n  billing:\n    owner: \"Zahlungen – ä\"\n" +
		identify + "    allow:\n      - api.example.com   # Bücher\n")
}

// write writes a policy and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "egress.yaml")
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	return path
}

func read1(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// token is the token whose hash is <f>.
var token = identity.Token([]byte(strings.Repeat("\xff", 32)))

func TestATokenIsAddedAndNoOtherByteChanges(t *testing.T) {
	for name, row := range map[string]struct{ before, after string }{
		"a list in a line": {
			"    identify: {tokens: [\"<1>\"]} # why\n", "    identify: {tokens: [\"<1>\", \"<f>\"]} # why\n"},
		"a list in a line, without quotes": {
			"    identify:\n      tokens: [ <1>, '<2>' ]\n", "    identify:\n      tokens: [ <1>, '<2>', \"<f>\" ]\n"},
		"a list in brackets over lines": {
			"    identify:\n      tokens: [\n        <1>, # first\n        <2>, # second\n      ]\n",
			"    identify:\n      tokens: [\n        <1>, # first\n        <2>, \"<f>\", # second\n      ]\n"},
		"an empty list": {
			"    identify: {tokens: [], sources: [10.0.0.0/8]}\n", "    identify: {tokens: [\"<f>\"], sources: [10.0.0.0/8]}\n"},
		"a list with a line for each": {
			"    identify:\n      tokens:\n        - \"<1>\" # since May\n        -   <2>   # since June\n      # places\n      sources: [10.0.0.0/8]\n",
			"    identify:\n      tokens:\n        - \"<1>\" # since May\n        -   <2>   # since June\n        -   \"<f>\"\n      # places\n      sources: [10.0.0.0/8]\n"},
		"a list that is not indented": {
			"    identify:\n      tokens:\n      - <1>\n", "    identify:\n      tokens:\n      - <1>\n      - \"<f>\"\n"},
		"no list": {
			"    identify: # who\n      # places\n      sources:\n        - 10.0.0.0/8\n",
			"    identify: # who\n      tokens: [\"<f>\"]\n      # places\n      sources:\n        - 10.0.0.0/8\n"},
		"no list in a line": {
			"    identify: { sources: [10.0.0.0/8]}\n", "    identify: {tokens: [\"<f>\"],  sources: [10.0.0.0/8]}\n"},
		"other line ends": {
			"    identify:\r\n      tokens:\r\n        - <1>\r\n", "    identify:\r\n      tokens:\r\n        - <1>\r\n        - \"<f>\"\r\n"},
		"characters of several bytes before it": {
			"    identify: {certificates: [], \"tokens\": [<1>]} # ä\n", "    identify: {certificates: [], \"tokens\": [<1>, \"<f>\"]} # ä\n"},
	} {
		path := write(t, around(row.before))
		f, err := AddToken(path, "billing", token)
		if got, want := read1(t, path), around(row.after); err != nil || got != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, got, want)
		} else if n := len(f.Identify.Tokens); f.Name != "billing" || n == 0 || f.Identify.Tokens[n-1] != token {
			t.Errorf("%s: it is now %+v", name, f.Identify)
		}
	}
}

func TestTheFirstTokenIsRetiredAndNoOtherByteChanges(t *testing.T) {
	for name, row := range map[string]struct{ before, after string }{
		"a list in a line": {
			"    identify: {tokens: [\"<1>\", \"<2>\"]} # why\n", "    identify: {tokens: [\"<2>\"]} # why\n"},
		"a list in a line, spread": {
			"    identify:\n      tokens: [ <1>  ,  <2>, <3> ]\n", "    identify:\n      tokens: [ <2>, <3> ]\n"},
		"a list in brackets over lines": {
			"    identify:\n      tokens: [\n        <1>, # first\n        # the next one\n        <2>, # second\n      ]\n",
			"    identify:\n      tokens: [\n        # the next one\n        <2>, # second\n      ]\n"},
		"a list in brackets that begins on the line of the key": {
			"    identify:\n      tokens: [<1>, # all of them\n        <2>]\n", "    identify:\n      tokens: [ # all of them\n        <2>]\n"},
		"a list with a line for each": {
			"    identify:\n      tokens:\n        # of the deployment\n        - \"<1>\" # since May\n        - '<2>' # since June\n",
			"    identify:\n      tokens:\n        # of the deployment\n        - '<2>' # since June\n"},
		"upper case": {
			"    identify: {tokens: [sha256:" + strings.Repeat("AB", 32) + ", <2>]}\n", "    identify: {tokens: [<2>]}\n"},
	} {
		path := write(t, around(row.before))
		was, _ := config.Load(path)
		retired, f, err := RetireToken(path, "billing")
		if got, want := read1(t, path), around(row.after); err != nil || got != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, got, want)
		} else if tokens := was.Functions[1].Identify.Tokens; retired != tokens[0] || len(f.Identify.Tokens) != len(tokens)-1 {
			t.Errorf("%s: %x is retired, %d of %d stay", name, retired, len(f.Identify.Tokens), len(tokens))
		}
	}
}

func TestAFileWithoutALastLineEndGetsItsLine(t *testing.T) {
	text := fill("version: 1\nfunctions:\n  billing:\n    allow: []\n    identify:\n      tokens:\n      - <1>")
	path := write(t, text)
	if _, err := AddToken(path, "billing", token); err != nil {
		t.Fatal(err)
	}
	if got, want := read1(t, path), text+fill("\n      - \"<f>\""); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestColumnsAreThoseOfCharacters(t *testing.T) {
	const text = "version: 1\nfunctions:\n  billing: {owner: \"Zahlungen – ä\", allow: [], identify: {tokens: [<1>]}}\n"
	path := write(t, fill(text))
	if _, err := AddToken(path, "billing", token); err != nil {
		t.Fatal(err)
	}
	if got, want := read1(t, path), fill(strings.Replace(text, "<1>", "<1>, \"<f>\"", 1)); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if _, _, err := RetireToken(path, "billing"); err != nil {
		t.Fatal(err)
	}
	if got, want := read1(t, path), fill(strings.Replace(text, "<1>", "\"<f>\"", 1)); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// An edit that gave the token to somebody else, or to nobody, is seen.
func TestOnlyTheExpectedFunctionMayChange(t *testing.T) {
	load := func(billing, nightly string) *config.Config {
		c, err := parse("egress.yaml", []byte(fill("version: 1\nfunctions:\n  billing: {identify: {tokens: ["+billing+"]}, allow: []}\n"+
			"  nightly: {identify: {tokens: ["+nightly+"]}, allow: []}\n")))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	before, expected := load("<1>", "<2>"), &load("<1>, <f>", "<2>").Functions[0]
	for _, row := range []struct {
		billing, nightly string
		want             bool
	}{
		{"<1>, <f>", "<2>", true},
		{"<1>", "<2>", false},
		{"<1>, <f>", "<3>", false},
		{"<1>", "<2>, <f>", false},
		{"<f>", "<2>", false},
	} {
		if got := sameCallers(before, load(row.billing, row.nightly), 0, expected); got != row.want {
			t.Errorf("%s and %s: %v", row.billing, row.nightly, got)
		}
	}
}

func TestWhatCannotBeEditedStaysAndSaysWhy(t *testing.T) {
	add := func(path string) error { _, err := AddToken(path, "billing", token); return err }
	retire := func(path string) error { _, _, err := RetireToken(path, "billing"); return err }
	for name, row := range map[string]struct {
		text string
		edit func(string) error
		want string
	}{
		"another function":   {fill("version: 1\nfunctions: {biling: {identify: {tokens: [<1>]}, allow: []}}\n"), add, `has no function "billing"; did you mean "biling"?`},
		"a file with errors": {fill("version: 1\nfunctions: {billing: {identify: {tokens: [<1>]}, alow: []}}\n"), add, `:2: functions.billing.alow: no such key; did you mean "allow"?`},
		"the token of another": {strings.ReplaceAll(around("    identify: {tokens: [<1>]}\n"), hash("e"), hash("f")), add,
			"the edited file would not load, and the old one stays"},
		"an alias": {"version: 1\nfunctions:\n  billing:\n    allow: &none []\n    identify: {tokens: *none, sources: [10.0.0.0/8]}\n", add, "it is written by an alias"},
		"a list that another shares": {"version: 1\nfunctions:\n  billing: {identify: {tokens: &none [], sources: [10.0.0.0/8]}, allow: []}\n" +
			"  nightly: {identify: {tokens: *none, sources: [10.1.0.0/16]}, allow: []}\n", add, "its bracket is not where it is expected"},
		"an escaped text":       {around("    identify: {tokens: [\"<1>\", \"\\x73" + hash("2")[1:] + "\"]}\n"), add, "its last item is not a plain or a quoted text"},
		"an escaped first text": {around("    identify: {tokens: [\"\\x73" + hash("2")[1:] + "\", <1>]}\n"), retire, "its first item is not a plain or a quoted text"},
		"a dash on its own":     {around("    identify:\n      tokens:\n        -\n          <1>\n        -\n          <2>\n"), retire, "its first item has no line of its own"},
		"a dash on its own, at the end": {around("    identify:\n      tokens:\n        -\n          <1>\n"), add,
			"its last item has no line of its own"},
		"the last token": {around("    identify: {tokens: [<1>]}\n"), retire, "functions.billing has one token alone; add the next one"},
		"no token":       {around("    identify: {sources: [10.0.0.0/8]}\n"), retire, "functions.billing has no token; add one"},
	} {
		path := write(t, row.text)
		if err := row.edit(path); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %s", name, err, row.want)
		}
		if read1(t, path) != row.text {
			t.Errorf("%s: the file has changed", name)
		}
		if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
			t.Errorf("%s: beside the file there is %v, %v", name, left, err)
		}
	}
}

// Whatever loads is edited, or refused, without a panic; and what comes out either
// does not load or has the tokens that it should.
func FuzzEdit(f *testing.F) {
	for _, identify := range []string{
		"    identify: {tokens: [\"<1>\", '<2>']} # why\n",
		"    identify:\n      tokens: [\n        <1>, # first\n        <2>\n      ]\n",
		"    identify:\r\n      tokens:\r\n        - <1>\r\n        - <2>\r\n",
		"    identify: # who\n      # places\n      sources: [10.0.0.0/8]\n",
		"    identify: {tokens: &a [], sources: [10.0.0.0/8]}\n",
	} {
		f.Add([]byte(around(identify)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before, err := config.Parse("egress.yaml", data, nil)
		if err != nil {
			return
		}
		i, err := Find("egress.yaml", before, "billing")
		if err != nil {
			return
		}
		d, err := open(data, "billing")
		if err != nil {
			return
		}
		expected := before.Functions[i]
		tokens := expected.Identify.Tokens
		check := func(edited []byte, err error) {
			if err != nil {
				return
			}
			if after, err := config.Parse("egress.yaml", edited, nil); err == nil && !sameCallers(before, after, i, &expected) {
				t.Errorf("%q became %q", data, edited)
			}
		}
		expected.Identify.Tokens = append(slices.Clone(tokens), token)
		check(d.add(hash("f")))
		if len(tokens) > 1 {
			expected.Identify.Tokens = tokens[1:]
			check(d.retire(fmt.Sprintf("sha256:%x", tokens[0])))
		}
	})
}

func TestFileIsReplacedWithItsModeBehindItsLink(t *testing.T) {
	path := write(t, around("    identify: {tokens: [<1>]}\n"))
	link := filepath.Join(t.TempDir(), "link.yaml")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := AddToken(link, "billing", token); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(link); err != nil || to != path {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the mode is %v, %v", info.Mode(), err)
	}
	if !strings.Contains(read1(t, path), hash("f")) {
		t.Error("the file has no new token")
	}
}

func TestFileThatChangesMeanwhileIsNotReplaced(t *testing.T) {
	path := write(t, "newer")
	err := Replace(path, []byte("as it was read"), []byte("edited"))
	if err == nil || !strings.Contains(err.Error(), "it was changed meanwhile; try again") || read1(t, path) != "newer" {
		t.Errorf("%v; the file has %q", err, read1(t, path))
	}
	if err := Replace(path+".gone", nil, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}
