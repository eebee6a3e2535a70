package proxy_test

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A step of the clock must not end tunnels or keep them open. Times of
// time.Now have a monotonic reading, by which Sub, Since, Until and deadlines go,
// as long as nobody strips it or makes a time from the wall clock's numbers. The
// ones that are made are deadlines that have passed whatever the clock says.
func TestNoTimeoutIsMeasuredByTheWallClock(t *testing.T) {
	strips := []string{"Round", "Truncate", "UTC", "Local", "In", "Unix", "UnixMilli", "UnixMicro", "UnixNano", "Date"}
	found := map[string]int{}
	for _, pattern := range []string{"*.go", "../internal/clientconn/*.go", "../internal/connect/*.go", "../internal/exchange/*.go", "../internal/forward/*.go", "../internal/inflight/*.go", "../internal/origin/*.go", "../internal/tunnel/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(gotoken.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					if s, ok := call.Fun.(*ast.SelectorExpr); ok && slices.Contains(strips, s.Sel.Name) {
						found[name+" "+s.Sel.Name]++
					}
				}
				return true
			})
		}
	}
	want := map[string]int{"../internal/forward/upload.go Unix": 1, "../internal/inflight/inflight.go Unix": 1, "../internal/tunnel/tunnel.go Unix": 1}
	for where, n := range found {
		if n != want[where] {
			t.Errorf("%s: %d calls, want %d", where, n, want[where])
		}
		delete(want, where)
	}
	if len(want) > 0 {
		t.Errorf("not found: %v", want)
	}
}
