// Command mutants changes one operator of a package at a time and runs the package's own
// tests, which have to fail: what they do not notice, somebody could change unnoticed.
//
// What it does: it mutates comparisons, arithmetic, && and ||, and ++ and --, wherever
// they stand, cases of switches and constants included, which tools that go by coverage
// take for unreached. A change that does not compile counts for nothing. Whatever survives
// has to be a line of .ci/survivors, with the reason why it is no other program, and each
// line there has to survive.
//
//	go run ./.ci/mutants ./internal/gate ./internal/policy
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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
	file, line string // the text of the line, trimmed
	number     int
	from, to   token.Token
	text       []byte // of the whole file
}

// key is how .ci/survivors names it.
func (m *mutant) key() string { return fmt.Sprintf("%s: %s to %s: %s", m.file, m.from, m.to, m.line) }

// outcome of a run of the tests.
type outcome int

const (
	killed outcome = iota
	survived
	invalid // it does not compile
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
	counts, good := map[outcome]int{}, true
	runAll(pkg, mutants, workers, func(m *mutant, o outcome) {
		counts[o]++
		if o != survived {
			return
		}
		if _, listed := known[m.key()]; listed {
			known[m.key()] = true
			return
		}
		good = false
		fmt.Printf("%s:%d survives and is not listed:\n%s\n", m.file, m.number, m.key())
	})
	fmt.Printf("%s: %d mutants killed, %d survive\n", pkg, counts[killed], counts[survived])
	return good
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
		add := func(at token.Pos, op token.Token) {
			p := fset.Position(at)
			for _, to := range others[op] {
				text := slices.Concat(src[:p.Offset], []byte(to.String()), src[p.Offset+len(op.String()):])
				all = append(all, mutant{filepath.ToSlash(name), strings.TrimSpace(lines[p.Line-1]), p.Line, op, to, text})
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
func runAll(pkg string, mutants []mutant, workers int, ended func(*mutant, outcome)) {
	next := make(chan *mutant)
	var ending sync.Mutex
	var done sync.WaitGroup
	for range workers {
		done.Go(func() {
			for m := range next {
				o := run(pkg, m)
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
func run(pkg string, m *mutant) outcome {
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
	out, err := exec.Command("go", "test", "-vet=off", "-failfast", "-timeout=60s", "-ldflags=-s -w", "-overlay="+overlay, "./"+filepath.Clean(pkg)).CombinedOutput()
	switch {
	case bytes.Contains(out, []byte("[build failed]")), bytes.Contains(out, []byte("[setup failed]")):
		return invalid
	case err == nil:
		return survived
	default:
		return killed
	}
}
