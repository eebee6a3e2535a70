// Command mutants changes one operator of a package at a time and runs the package's own
// tests, which have to fail: what they do not notice, somebody could change unnoticed.
//
// What it does: it mutates comparisons, arithmetic, && and ||, and ++ and --, wherever
// they stand, cases of switches and constants included, which tools that go by coverage
// take for unreached. A change that does not compile counts for nothing, and one in a block
// that no test of the package reaches survives without a run. Whatever survives has to be
// a line of .ci/survivors, with the reason why it is no other program, and each line there
// has to survive.
//
//	go run ./.ci/mutants ./internal/gate ./internal/policy
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// others are what an operator is changed to.
var others = map[token.Token][]token.Token{
	token.LSS: {token.LEQ, token.GEQ}, token.LEQ: {token.LSS, token.GTR}, token.GTR: {token.GEQ, token.LEQ}, token.GEQ: {token.GTR, token.LSS},
	token.EQL: {token.NEQ}, token.NEQ: {token.EQL}, token.LAND: {token.LOR}, token.LOR: {token.LAND},
	token.ADD: {token.SUB}, token.SUB: {token.ADD}, token.MUL: {token.QUO}, token.QUO: {token.MUL}, token.REM: {token.MUL},
	token.INC: {token.DEC}, token.DEC: {token.INC},
}

// mutant is one change of a file.
type mutant struct {
	file, line     string // the text of the line, trimmed
	number, column int
	from, to       token.Token
	text           []byte // of the whole file
	key            string // how .ci/survivors names it
}

// name sets the key: the file, the change and the line, and which one where that is not
// the first of its kind in the file.
func (m *mutant) name(seen map[string]int) {
	change := fmt.Sprintf("%s: %s to %s", m.file, m.from, m.to)
	m.key = change + ": " + m.line
	seen[m.key]++
	if n := seen[m.key]; n > 1 {
		m.key = fmt.Sprintf("%s #%d: %s", change, n, m.line)
	}
}

// outcome of a run of the tests.
type outcome int

const (
	killed outcome = iota
	survived
	unreached // it survives, because no test runs what it changes
	invalid   // it does not compile
)

func main() {
	workers := flag.Int("workers", 2, "so many at once")
	only := flag.String("only", "", "files whose path has this text")
	flag.Parse()
	known, err := survivors(".ci/survivors")
	if err != nil {
		fail(err)
	}
	bad := false
	for _, pkg := range flag.Args() {
		mutants, err := mutantsOf(filepath.Clean(pkg))
		if err != nil {
			fail(err)
		}
		mutants = slices.DeleteFunc(mutants, func(m mutant) bool { return !strings.Contains(m.file, *only) })
		if !judge(pkg, mutants, *workers, known) {
			bad = true
		}
		for key, found := range known {
			file, _, _ := strings.Cut(key, ":")
			if !found && strings.Contains(key, *only) && filepath.Dir(file) == filepath.Clean(pkg) {
				bad = true
				fmt.Printf(".ci/survivors has what does not survive: %s\n", key)
			}
		}
	}
	if bad {
		os.Exit(1)
	}
}

// judge reports whether the tests of a package notice each mutant that is not known, marks
// those that are, and prints the others.
func judge(pkg string, mutants []mutant, workers int, known map[string]bool) bool {
	begin := time.Now()
	blocks, limit, err := coverage(pkg)
	if err != nil {
		fail(err)
	}
	counts, good := map[outcome]int{}, true
	runAll(pkg, mutants, workers, blocks, limit, func(m *mutant, o outcome) {
		counts[o]++
		if o == killed || o == invalid {
			return
		}
		if _, listed := known[m.key]; listed {
			known[m.key] = true
			return
		}
		good = false
		how := "survives"
		if o == unreached {
			how = "is not reached"
		}
		fmt.Printf("%s:%d %s and is not listed:\n%s\n", m.file, m.number, how, m.key)
	})
	reached := counts[killed] + counts[survived]
	all := reached + counts[unreached]
	fmt.Printf("%s: %d mutants, reached %d (%.1f%%), of those killed %d (%.1f%%); %.1f minutes\n",
		pkg, all, reached, percent(reached, all), counts[killed], percent(counts[killed], reached), time.Since(begin).Minutes())
	return good
}

func percent(part, whole int) float64 { return 100 * float64(part) / float64(max(whole, 1)) }

// block is a piece of a file that runs from its beginning to its end, or not at all.
type block struct {
	file                   string // its last element
	fromLine, fromColumn   int
	untilLine, untilColumn int
	statements, runs       int
}

// has reports whether a mutant changes something within the block.
func (b *block) has(m *mutant) bool {
	return b.file == filepath.Base(m.file) &&
		cmp.Or(cmp.Compare(m.number, b.fromLine), cmp.Compare(m.column, b.fromColumn)) >= 0 &&
		cmp.Or(cmp.Compare(m.number, b.untilLine), cmp.Compare(m.column, b.untilColumn)) < 0
}

// coverage runs the tests of a package, which have to pass, and returns its blocks, and
// how long its tests may take before a mutant counts as one that does not end.
func coverage(pkg string) (blocks []block, limit time.Duration, err error) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return nil, 0, err
	}
	defer os.RemoveAll(dir)
	profile := filepath.Join(dir, "cover")
	out, err := exec.Command("go", "test", "-count=1", "-coverprofile="+profile, "./"+filepath.Clean(pkg)).CombinedOutput()
	if err != nil {
		return nil, 0, fmt.Errorf("testing %s as it is: %w\n%s", pkg, err, out)
	}
	limit = 10 * time.Second
	if fields := strings.Fields(string(out)); len(fields) > 2 { // ok PACKAGE 0.123s
		took, _ := time.ParseDuration(fields[2])
		limit += 20 * took
	}
	data, err := os.ReadFile(profile)
	if err != nil {
		return nil, 0, err
	}
	for line := range strings.Lines(string(data)) {
		name, rest, _ := strings.Cut(path.Base(line), ":")
		var b block
		if _, err := fmt.Sscanf(rest, "%d.%d,%d.%d %d %d", &b.fromLine, &b.fromColumn, &b.untilLine, &b.untilColumn, &b.statements, &b.runs); err == nil {
			b.file = name
			blocks = append(blocks, b)
		}
	}
	return blocks, limit, nil
}

// isReached reports whether a test runs what a mutant changes. What stands in no block, as
// constants and cases of a switch do, has to be tried.
func isReached(m *mutant, blocks []block) bool {
	within := false
	for i := range blocks {
		if blocks[i].has(m) {
			if blocks[i].runs > 0 {
				return true
			}
			within = true
		}
	}
	return !within
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(2)
}

// survivors reads the list: a key in a line, the reason in the indented ones behind it.
func survivors(name string) (map[string]bool, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimRight(line, "\n"); line != "" && line[0] != '#' && line[0] != ' ' {
			known[line] = false
		}
	}
	return known, nil
}

// mutantsOf returns the mutants of a package's files.
func mutantsOf(dir string) (all []mutant, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, src, 0)
		if err != nil {
			return nil, err
		}
		lines := strings.Split(string(src), "\n")
		seen := map[string]int{}
		add := func(at token.Pos, op token.Token) {
			p := fset.Position(at)
			for _, to := range others[op] {
				text := slices.Concat(src[:p.Offset], []byte(to.String()), src[p.Offset+len(op.String()):])
				m := mutant{file: filepath.ToSlash(name), line: strings.TrimSpace(lines[p.Line-1]), number: p.Line, column: p.Column, from: op, to: to, text: text}
				m.name(seen)
				all = append(all, m)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr:
				add(n.OpPos, n.Op)
			case *ast.IncDecStmt:
				add(n.TokPos, n.Tok)
			}
			return true
		})
	}
	return all, nil
}

// runAll runs the tests of a package for each mutant, and calls ended with what has come of
// it, one at a time.
func runAll(pkg string, mutants []mutant, workers int, blocks []block, limit time.Duration, ended func(*mutant, outcome)) {
	next := make(chan *mutant)
	var ending sync.Mutex
	var done sync.WaitGroup
	for range workers {
		done.Go(func() {
			for m := range next {
				o := unreached
				if isReached(m, blocks) {
					o = run(pkg, m, limit)
				}
				ending.Lock()
				ended(m, o)
				ending.Unlock()
			}
		})
	}
	for i := range mutants {
		next <- &mutants[i]
	}
	close(next)
	done.Wait()
}

// run runs the tests of a package with one file replaced.
func run(pkg string, m *mutant, limit time.Duration) outcome {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		fail(err)
	}
	defer os.RemoveAll(dir)
	changed, overlay := filepath.Join(dir, "file.go"), filepath.Join(dir, "overlay.json")
	original, err := filepath.Abs(m.file)
	if err != nil {
		fail(err)
	}
	what, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		fail(err)
	}
	for name, data := range map[string][]byte{changed: m.text, overlay: what} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			fail(err)
		}
	}
	out, err := exec.Command("go", "test", "-vet=off", "-failfast", "-timeout="+limit.String(), "-ldflags=-s -w", "-overlay="+overlay, "./"+filepath.Clean(pkg)).CombinedOutput()
	switch {
	case bytes.Contains(out, []byte("[build failed]")), bytes.Contains(out, []byte("[setup failed]")):
		return invalid
	case err == nil:
		return survived
	default:
		return killed
	}
}
