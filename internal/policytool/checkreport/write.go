package checkreport

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/printable"
)

// Formats are those that Write knows, sorted.
var Formats = []string{"github", "json", "sarif", "text"}

// Write writes the results in one of Formats; any other is text.
func Write(out io.Writer, format string, results []Result) error {
	if results == nil {
		results = []Result{}
	}
	switch format {
	case "json":
		return printable.WriteJSON(out, map[string][]Result{"files": results})
	case "sarif":
		return printable.WriteJSON(out, sarif(results))
	case "github":
		return writeLines(out, github(results))
	default:
		return writeLines(out, text(results))
	}
}

// writeLines writes lines.
func writeLines(out io.Writer, lines []string) error {
	for _, line := range lines {
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	return nil
}

// text says it for people. Where there are several files each line of a good one names it,
// which those of errors and of lint do anyway.
func text(results []Result) (lines []string) {
	for i := range results {
		r := &results[i]
		prefix := ""
		if len(results) > 1 {
			prefix = r.File + ": "
		}
		if r.OK {
			lines = append(lines, fmt.Sprintf("%sok: %d functions, %d rules", prefix, r.Functions, r.Rules))
		}
		for _, f := range r.Findings {
			if strings.HasPrefix(f.line, "note: ") {
				f.line = prefix + f.line
			}
			lines = append(lines, f.line)
		}
	}
	return lines
}

// githubLevels are the commands of a workflow for each level.
var githubLevels = map[Level]string{Error: "error", Warning: "warning", Notice: "notice"}

// The characters that end a line or a property of a workflow command.
var (
	githubText     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	githubProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

// github returns the commands that make a workflow show the findings beside the lines.
func github(results []Result) (lines []string) {
	for i := range results {
		for _, f := range results[i].Findings {
			at := "file=" + githubProperty.Replace(f.File)
			if f.Line > 0 {
				at += fmt.Sprintf(",line=%d", f.Line)
			}
			lines = append(lines, fmt.Sprintf("::%s %s,title=%s::%s", githubLevels[f.Level], at, githubProperty.Replace(f.Kind), githubText.Replace(f.message())))
		}
	}
	return lines
}

// message is the text with the path that it is about.
func (f *Finding) message() string {
	if f.Path == "" {
		return f.Text
	}
	return f.Path + ": " + f.Text
}

// object is a JSON object.
type object map[string]any

// sarif returns a log of the Static Analysis Results Interchange Format 2.1.0 with one run.
func sarif(results []Result) object {
	found, kinds := []object{}, map[string]bool{}
	for i := range results {
		for _, f := range results[i].Findings {
			place := object{"artifactLocation": object{"uri": f.File}}
			if f.Line > 0 {
				place["region"] = object{"startLine": f.Line}
			}
			kinds[f.Kind] = true
			found = append(found, object{
				"ruleId": f.Kind, "level": f.Level, "message": object{"text": f.message()},
				"locations": []object{{"physicalLocation": place}},
			})
		}
	}
	rules := []object{}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		rules = append(rules, object{"id": kind})
	}
	return object{
		"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
		"runs": []object{{"tool": object{"driver": object{"name": "proxy check", "rules": rules}}, "results": found}},
	}
}
