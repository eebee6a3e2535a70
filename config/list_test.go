package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// parseList parses a policy whose set s is a file of that text.
func parseList(text string) (*Config, error) {
	return Parse("egress.yaml", []byte(minimal+"sets: {s: {file: list.txt}}\n"), func(string) ([]byte, error) { return []byte(text), nil })
}

func TestListIsReadWholeWhateverItsLength(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no line end":             "one.test",
		"several times the chunk": many(5*chunkSize, "host-%d.test # one of many\n"),
		"no line end behind them": strings.TrimSuffix(many(5*chunkSize, "host-%d.test\n"), "\n"),
	} {
		cfg, err := parseList(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		patterns := cfg.Sets[0].Patterns
		lines := strings.Split(strings.TrimSpace(text), "\n")
		if len(patterns) != len(lines) {
			t.Errorf("%s: %d patterns of %d lines", name, len(patterns), len(lines))
		}
		for i, p := range patterns {
			if want, _, _ := strings.Cut(lines[i], " "); p.String() != want {
				t.Fatalf("%s: pattern %d is %s, want %s", name, i, p, want)
			}
		}
		sum := sha256.Sum256([]byte(minimal + "sets: {s: {file: list.txt}}\n" + text))
		if want := hex.EncodeToString(sum[:])[:12]; cfg.Hash() != want {
			t.Errorf("%s: the hash is not of all of it", name)
		}
	}
	_, err := parseList(many(5*chunkSize, "host-%d.test\n") + "two..test\n")
	if want := fmt.Sprintf("list.txt:%d: sets.s.file: ", 1+strings.Count(many(5*chunkSize, "host-%d.test\n"), "\n")); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("a mistake in the last line: %v, want %s", err, want)
	}
}

// The line that has the first byte behind the size is whole.
func TestChunksEndWithALineAndAreShort(t *testing.T) {
	t.Parallel()
	const line = 64
	for _, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 3 * chunkSize, 3*chunkSize + 5} {
		for shift := range line { // where in a line the size ends
			data := bytes.Repeat([]byte("\n"), size)
			for i := range data {
				if (i+shift)%line != 0 {
					data[i] = 'a'
				}
			}
			var whole []byte
			for chunk := range chunks(data) {
				whole = append(whole, chunk...)
				if end := len(whole) == len(data); len(chunk) > chunkSize+line || !end && (chunk[len(chunk)-1] != '\n' || len(chunk) <= chunkSize) {
					t.Fatalf("of %d bytes a chunk has %d, and ends in %q", size, len(chunk), chunk[len(chunk)-1])
				}
			}
			if !bytes.Equal(whole, data) {
				t.Fatalf("the chunks of %d bytes are %d", len(data), len(whole))
			}
		}
	}
}

func TestFileOf64MiBIsRead(t *testing.T) {
	t.Parallel()
	data := make([]byte, maxFile)
	copy(data, bom) // which is what is wrong with it, and is seen before the rest
	_, err := Parse("egress.yaml", data, nil)
	if err == nil || !strings.Contains(err.Error(), "byte order mark") {
		t.Error(err)
	}
}

// A set says which ports its hosts are for; a rule that has ports of its own asks for those.
func TestPortsOfASetAreThoseOfRulesWithoutAny(t *testing.T) {
	t.Parallel()
	for rule, want := range map[string]string{
		"{set: s}": "[5432 8000-8010]", "{set: s, tls: any}": "[5432 8000-8010]", "{set: s, ports: [22]}": "[22]", "{set: plain}": "[443]", "a.test": "[443]",
	} {
		cfg, err := Parse("egress.yaml", []byte(allow("sets: {s: {file: list.txt, ports: [5432, 8000-8010]}, plain: {hosts: [a.test]}}\n", rule)),
			func(string) ([]byte, error) { return []byte(".db.test\n"), nil })
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(cfg.Functions[0].Allow[0].Conditions.Ports); got != want {
			t.Errorf("%s has ports %s, want %s", rule, got, want)
		}
	}
}
