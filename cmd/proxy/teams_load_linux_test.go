package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// What the files of teams are measured with.
const (
	loadFunctions = 5000
	loadFiles     = 300
	loadRounds    = 5
)

// writeLoad writes functions with so many rules together, as one file and as files of teams,
// and returns the two policies.
func writeLoad(t *testing.T, rules int) (one, many string) {
	t.Helper()
	dir := t.TempDir()
	var all, main strings.Builder
	all.WriteString("version: 1\nfunctions:\n")
	main.WriteString("version: 1\ninclude:\n")
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := os.Mkdir(filepath.Join(dir, "teams"), 0o700); err != nil {
		t.Fatal(err)
	}
	for file := range loadFiles {
		var team strings.Builder
		for f := file * loadFunctions / loadFiles; f < (file+1)*loadFunctions/loadFiles; f++ {
			fmt.Fprintf(&team, "  f%04d:\n    identify: {sources: [10.%d.%d.0/24]}\n    allow:\n", f, f>>8, f&255)
			for r := range rules / loadFunctions {
				fmt.Fprintf(&team, "      - h%d.f%04d.example.com\n", r, f)
			}
		}
		name := fmt.Sprintf("teams/t%03d.yaml", file)
		fmt.Fprintf(&main, "  - {file: %s, functions: [\"f*\"], owner: t%03d, may: {ports: [443]}}\n", name, file)
		all.WriteString(team.String())
		write(name, "functions:\n"+team.String())
	}
	return write("one.yaml", all.String()), write("many.yaml", main.String())
}

// checked runs check on a policy, and returns the processor's time in seconds and the most
// memory in MiB that it took.
func checked(t *testing.T, path string, rules int) (seconds, memory float64) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "proxy", "check", path)
	cmd.Env = append(cmd.Environ(), exitAtOnce)
	out, err := cmd.CombinedOutput()
	if want := fmt.Sprintf("ok: %d functions, %d rules\n", loadFunctions, rules); err != nil || string(out) != want {
		t.Fatalf("%v, %s, want %s", err, out, want)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		t.Fatal("the system does not say what a process took")
	}
	return (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(), float64(usage.Maxrss) / 1024
}

// Files of teams cost a load what one file costs, whatever else the machine does: what is
// compared is the least of some rounds, by turns, of the processor's time and of memory.
func TestFilesOfTeamsLoadAsOneFileDoes(t *testing.T) {
	rules, err := strconv.Atoi(os.Getenv("EGRESS_TEAM_RULES"))
	if err != nil || rules < loadFunctions {
		t.Skip("EGRESS_TEAM_RULES does not say with how many rules to measure; .ci/long has a million")
	}
	rules -= rules % loadFunctions
	one, many := writeLoad(t, rules)
	var seconds, memory [2][]float64
	for range loadRounds {
		for i, path := range []string{one, many} {
			s, m := checked(t, path, rules)
			seconds[i], memory[i] = append(seconds[i], s), append(memory[i], m)
		}
	}
	least := func(of [2][]float64) (a, b, ratio float64) {
		a, b = slices.Min(of[0]), slices.Min(of[1])
		return a, b, b / a
	}
	s1, s2, slower := least(seconds)
	m1, m2, larger := least(memory)
	table := fmt.Sprintf("| %d functions, %d rules | one file | %d files | ratio | goal |\n|---|---|---|---|---|\n"+
		"| processor time of `proxy check`, s | %.2f | %.2f | %.2f | ≤ 1.50 |\n| most memory, MiB | %.0f | %.0f | %.2f | ≤ 1.00 |\n",
		loadFunctions, rules, loadFiles, s1, s2, slower, m1, m2, larger)
	t.Logf("the least of %d rounds:\n%s", loadRounds, table)
	if slower > 1.5 || larger > 1 {
		t.Errorf("files of teams take %.2f of the time and %.2f of the memory of one file", slower, larger)
	}
	if out := os.Getenv("EGRESS_TEAM_OUT"); out != "" {
		text := "# A policy of many files\n\nWritten by `benchmarks/teams`, which [benchmarks](../README.md#a-policy-of-many-files) explains: the least of " + strconv.Itoa(loadRounds) + " rounds, by turns.\n\n" + table
		if err := os.WriteFile(out, []byte(text), 0o644); err != nil {
			t.Error(err)
		}
	}
}
