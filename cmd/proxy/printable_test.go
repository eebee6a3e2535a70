package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// unprintable are texts that a terminal acts on, or shows otherwise than they are, each
// as it stands raw in a line of JSON: DEL, C1 controls that begin a command as ESC [ and
// ESC ] do, marks that turn the direction, separators, tags, a byte that is no UTF-8.
var unprintable = []string{
	"a\x7fb", "\u009b2J\u009d0;owned\u009c", "\u202eevil\u2066", "a\u2028b\u2029c\u0085d", "\ufeff\u200b\u00a0", "\U000e0041\U000f0000", "a\xffb",
}

// foreignRecords are records as somebody else may have written them: with a text raw in
// every member that can have one.
func foreignRecords(text string) string {
	const line = `{"time":"2026-01-31T12:00:00Z","event":"EVENT","boot":"TEXT","seq":7,"prev":"ZEROS","policy":"TEXT","version":"TEXT","protocol":"PROTO","id":"TEXT",` +
		`"client":"127.0.0.1:1","function":"TEXT","owner":"TEXT","via":"TEXT","method":"TEXT","type":"TEXT","host":"TEXT","port":443,"verdict":"VERDICT","reason":"TEXT","rule":"TEXT",` +
		`"line":1,"ticket":"TEXT","addresses":["1.1.1.1"],"dialed":"1.1.1.1:443","sni":"TEXT","ended":"TEXT","bytes_up":1,"bytes_down":1,"duration_ms":1,"detail":"TEXT","error":"TEXT"}` + "\n"
	var b strings.Builder
	for _, event := range []string{"refused", "opened", "closed", "answered", "challenged", "reload_failed", "flood", text} {
		for _, protocol := range []string{"connect", "http", "dns", text} {
			for _, verdict := range []string{"allow", "deny", "report", text} {
				b.WriteString(strings.NewReplacer("EVENT", event, "ZEROS", strings.Repeat("0", 64), "PROTO", protocol, "VERDICT", verdict, "TEXT", text).Replace(line))
			}
		}
	}
	return b.String()
}

// Whatever a record or a policy file has, and whoever wrote it: what the program prints
// of it does not act on a terminal. Each command that reads either has a row.
func TestNoOutputHasACharacterThatDoesNotPrint(t *testing.T) {
	t.Parallel()
	for _, text := range unprintable {
		dir := t.TempDir()
		records := filepath.Join(dir, "records-"+strings.ToValidUTF8(text, "")+".jsonl")
		bad := filepath.Join(dir, "bad.yaml")
		for name, content := range map[string]string{
			records: foreignRecords(text),
			bad: "version: 1\n" + text + ": 1\nsets: {\"" + text + "\": [\"" + text + ".test\", \"*." + text + "\"]}\ndeny: [\"" + text + "\"]\nfunctions:\n  \"" + text + "\":\n    owner: \"" + text +
				"\"\n    identify: {tokens: [\"" + text + "\"], sources: [\"" + text + "\"]}\n    allow: [\"" + text + ".test\", {host: \"" + text + "\", ports: [\"" + text + "\"], expires: \"" + text + "\"}, {set: \"" + text + "\"}]\n",
		} {
			if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, args := range [][]string{
			{"export", "--format", "ocsf", records},
			{"report", "--format", "markdown", records},
			{"report", "--format", "csv", records},
			{"report", "--format", "html", records},
			{"verify", records},
			{"verify", "--json", records},
			{"verify", "--strict", records},
			{"check", bad},
			{"run", "--config", bad},
			{"explain", "--config", bad, "--function", text, text + ".test:443"},
			{"explain", "--config", "../../config/quickstart.yaml", "--function", "demo", text + ".test:443"},
			{"explain", "--config", "../../config/quickstart.yaml", "--function", text, "a.test:443"},
		} {
			var out, errs bytes.Buffer
			execute(t.Context(), args, &out, &errs)
			if out.Len()+errs.Len() == 0 || args[0] == "export" && strings.Count(out.String(), "\n") < 10 {
				t.Errorf("%q: %s prints next to nothing: %s", text, strings.Join(args[:2], " "), &errs)
			}
			for what, printed := range map[string]string{"stdout": out.String(), "stderr": errs.String()} {
				for line := range strings.Lines(strings.ReplaceAll(printed, "\r\n", "\n")) {
					if line = strings.TrimSuffix(line, "\n"); hasHostile(strings.ReplaceAll(line, "\t", " ")) {
						t.Errorf("%q: %s of %s: %.200q", text, what, strings.Join(args[:2], " "), line)
						break
					}
				}
			}
		}
	}
}
