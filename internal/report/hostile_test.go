package report

import (
	"encoding/csv"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"golang.org/x/net/html"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report/doc"
)

// attacks are texts that do something where they are not taken for text.
var attacks = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</title></style><script src=//evil.example/x.js></script>`,
	`<!--`, `]]>`, `javascript:alert(1)`, `{{.}}`, `' onmouseover='alert(1)`, `<svg onload=alert(1)>`,
	`=cmd|' /C calc'!A0`, `+1+1`, `-2+3`, `@SUM(A1)`, "\t=1+1", "\r=1+1", ` =1+1`, `a;=1+1`, `x",=1+1`, `＝1+1`, "a\n=1+1",
	"| evil | column |", "a`b", "``` \n# heading", "[link](https://evil.example)", "![image](https://evil.example/x.png)",
	"https://evil.example/", "www.evil.example", "@everyone", "**bold**", "a\\|b", `\`, "\\`x", "<https://evil.example>", "&lt;script&gt;",
	"\x1b[31mred\x1b[0m", "\x1b]0;title\a", "a\x00b", "a\u202eb", "a\u2028b", "\u200bzero", "\xff\xfe", "\u0085", "line\r\nline",
	strings.Repeat("A", 1_000), strings.Repeat("界", 1_000),
}

// hostile is a report in which every text of the records, of the policy file and
// of the sources is one of texts, each in turn.
func hostile(texts []string) *Report {
	o := Options{Sources: texts, Policy: &Policy{File: texts[0], Hash: texts[0]}}
	for _, s := range texts {
		o.Policy.Rules = append(o.Policy.Rules, Rule{Function: s, Owner: s, Path: s + "x", File: s, Pattern: s, Ticket: s})
	}
	o.Ready = func() (r Readiness) {
		for _, s := range texts {
			r.Functions = append(r.Functions, ReadyFunction{Name: s, Owner: s, Because: []string{s}, NewName: s})
		}
		return r
	}
	o.Probes = true
	b := New(o)
	for i, s := range texts {
		valid := strings.ToValidUTF8(s, "x") // what JSON cannot hold is in no result
		_ = b.AddProbe(probeLine(i, time.Duration(i), "hole", valid, valid))
		_ = b.AddProbe(evidence.Line{File: s, Number: i + 1, Raw: []byte(s)})
	}
	events := []string{eventStarted, eventReloadFailed, eventOpened, eventClosed, eventRefused, eventChallenged, eventAnswered, "flood"}
	for _, s := range texts {
		for _, event := range append(slices.Clone(events), s) {
			for _, verdict := range []string{verdictAllow, verdictReport} {
				for _, function := range []string{"", s} {
					r := evidence.Record{
						Time: began, Event: event, Process: s, Policy: s, Version: s, Protocol: s, ID: s, Function: function, Owner: s,
						Via: s, Method: s, Host: s, Verdict: verdict, Reason: s, Rule: s, Ticket: s, Type: s, Detail: s,
					}
					b.counts.Add(s, &r, nil)
				}
			}
		}
	}
	return b.Report()
}

// harmless is as many texts as there are attacks.
func harmless() []string {
	all := make([]string, len(attacks))
	for i := range all {
		all[i] = fmt.Sprintf("harmless%d", i)
	}
	return all
}

// known are the elements that a page of ours has, with their attributes.
var known = map[string][]string{
	"html": {"lang"}, "head": {}, "meta": {"charset", "http-equiv", "content", "name"}, "title": {}, "style": {}, "body": {}, "header": {}, "h1": {}, "h2": {},
	"p": {}, "b": {}, "span": {"class"}, "dl": {}, "dt": {}, "dd": {}, "nav": {}, "a": {"href"}, "main": {}, "section": {"id"}, "figure": {}, "figcaption": {},
	"svg": {"width", "height", "viewBox", "role", "aria-label"}, "rect": {"x", "y", "width", "height", "class"}, "text": {"x", "y", "class"},
	"div": {"class"}, "table": {}, "caption": {}, "thead": {}, "tbody": {}, "tr": {}, "th": {"class"}, "td": {"class"},
}

// inspect checks a page: the elements and attributes that are known and no others,
// links within the page alone, a policy that forbids the rest, nothing in it that
// does not print, and every tag closed. It returns the text of the page.
func inspect(t *testing.T, what, page string) string {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	var text strings.Builder
	policy, ids, links := false, map[string]bool{}, []string{}
	for n := range doc.Descendants() {
		if n.Type == html.TextNode {
			text.WriteString(n.Data)
		}
		if n.Type == html.CommentNode {
			t.Errorf("%s: the page has a comment: %q", what, n.Data)
		}
		if n.Type != html.ElementNode {
			continue
		}
		attributes, ok := known[n.Data]
		if !ok {
			t.Errorf("%s: the page has an element %s", what, n.Data)
		}
		for _, a := range n.Attr {
			if !slices.Contains(attributes, a.Key) {
				t.Errorf("%s: the page has an attribute %s of %s", what, a.Key, n.Data)
			}
			switch a.Key {
			case "href":
				links = append(links, a.Val)
			case "id":
				ids[a.Val] = true
			case "content":
				policy = policy || strings.HasPrefix(a.Val, "default-src 'none'; style-src 'unsafe-inline'")
			}
		}
	}
	for _, link := range links {
		if !strings.HasPrefix(link, "#") || !ids[link[1:]] {
			t.Errorf("%s: the page has a link to %q", what, link)
		}
	}
	if !policy || len(links) == 0 {
		t.Errorf("%s: content security policy %v, %d links", what, policy, len(links))
	}
	style := page[strings.Index(page, "<style>"):strings.Index(page, "</style>")]
	if strings.Contains(style, "url(") || strings.Contains(style, "@import") {
		t.Errorf("%s: the style loads something", what)
	}
	closed(t, what, page)
	prints(t, what, page)
	return text.String()
}

// closed checks that every tag is closed by its own, as parsers that repair do not.
func closed(t *testing.T, what, page string) {
	t.Helper()
	var open []string
	for z := html.NewTokenizer(strings.NewReader(page)); ; {
		kind := z.Next()
		if kind == html.ErrorToken {
			break
		}
		name, _ := z.TagName()
		switch kind {
		case html.StartTagToken:
			if string(name) != "meta" {
				open = append(open, string(name))
			}
		case html.EndTagToken:
			if len(open) == 0 || open[len(open)-1] != string(name) {
				t.Fatalf("%s: </%s> closes none of %v", what, name, open)
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		t.Errorf("%s: %v are not closed", what, open)
	}
}

// prints checks that a text has no character that does something.
func prints(t *testing.T, what, text string) {
	t.Helper()
	for _, c := range text {
		if ' ' <= c && c <= '~' {
			continue
		}
		if c == unicode.ReplacementChar || !unicode.IsPrint(c) && c != '\n' && c != '\r' {
			t.Fatalf("%s: the report has the character %U", what, c)
		}
	}
}

func TestHostileTextIsInertInHTML(t *testing.T) {
	t.Parallel()
	text := inspect(t, "attacks", hostile(attacks).written(t, HTML))
	for _, attack := range attacks {
		if !strings.Contains(text, doc.Visible(attack)) {
			t.Errorf("%q is not shown as text", attack)
		}
	}
	inspect(t, "nothing", New(Options{}).Report().written(t, HTML))
	inspect(t, "the story", reportOf(t, Options{}, story(t)).written(t, HTML))
}

// codeSpan matches a code span of Markdown.
var codeSpan = regexp.MustCompile("`[^`\n]*`")

func TestHostileTextIsInertInMarkdown(t *testing.T) {
	t.Parallel()
	clean := codeSpan.ReplaceAllString(hostile(harmless()).written(t, Markdown), "``")
	got := hostile(attacks).written(t, Markdown)
	prints(t, "attacks", got)
	// Outside of code spans, in which nothing has a meaning, the report is the same
	// as with harmless texts: line for line and cell for cell.
	want := slices.Collect(strings.Lines(clean))
	for i, line := range slices.Collect(strings.Lines(got)) {
		if i >= len(want) || codeSpan.ReplaceAllString(line, "``") != want[i] {
			t.Fatalf("line %d has more than a text in a code span: %s", i+1, line)
		}
		for _, s := range codeSpan.FindAllString(line, -1) {
			if strings.Contains(s, "|") {
				t.Errorf("a code span ends a column: %s", s)
			}
		}
	}
	for _, attack := range attacks {
		if !strings.Contains(got, doc.Text(attack).Markdown()) {
			t.Errorf("%q is not shown", attack)
		}
	}
}

// calculates matches what a spreadsheet would calculate, in a cell or, where it
// takes another character for the separator, in a part of one.
var calculates = regexp.MustCompile(`(^|[;,|"'\t])\s*[=+\-@＝＋－＠]`)

func TestHostileTextIsNoFormulaInCSV(t *testing.T) {
	t.Parallel()
	guarded := strings.NewReplacer("'=", "", "'+", "", "'-", "", "'@", "", "'＝", "")
	clean, err := csv.NewReader(strings.NewReader(hostile(harmless()).written(t, CSV))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	got := hostile(attacks).written(t, CSV)
	prints(t, "attacks", got)
	if n := strings.Count(got, "\n"); n != strings.Count(got, "\r\n") || n != len(clean) {
		t.Errorf("%d lines, %d of them end as RFC 4180 has it, want %d", n, strings.Count(got, "\r\n"), len(clean))
	}
	lines, err := csv.NewReader(strings.NewReader(got)).ReadAll() // fails where lines differ in fields
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range lines {
		for k, field := range line {
			if field != clean[i][k] && calculates.MatchString(guarded.Replace(field)) {
				t.Fatalf("a field calculates: %q", field)
			}
		}
	}
}
