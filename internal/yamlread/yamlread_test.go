package yamlread

import (
	"bytes"
	"errors"
	"io/fs"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

// hints are those of a caller.
var hints = Hints{Empty: "write a key", Anchors: "write it once"}

// read reads text by one reading func for the value of the key k, and returns
// the problems.
func read(text string, open func(string) ([]byte, error), value func(r *Reader, n Node)) []string {
	r := New("dir/top.yaml", open)
	if root, ok := r.Document([]byte(text), hints); ok {
		r.Object(root, Key("k", func(n Node) { value(r, n) }), Key("known", func(Node) {}))
	}
	if err := r.Err(); err != nil {
		return strings.Split(err.Error(), "\n")
	}
	return nil
}

func TestScalarsAreReadInOneSpelling(t *testing.T) {
	t.Parallel()
	var span time.Duration
	var number, size int
	kinds := map[string]func(r *Reader, n Node) any{
		"text":     func(r *Reader, n Node) any { return r.Text(n, 8) },
		"word":     func(r *Reader, n Node) any { return r.Word(n, "on", "off") },
		"integer":  func(r *Reader, n Node) any { i, _ := r.Integer(n, -5, 99); return i },
		"count":    func(r *Reader, n Node) any { number = 0; r.Count(n, &number); return number },
		"boolean":  func(r *Reader, n Node) any { return r.Boolean(n) },
		"duration": func(r *Reader, n Node) any { span = 0; r.Duration(n, &span); return span },
		"size":     func(r *Reader, n Node) any { size = 0; r.Size(n, &size); return size },
		"day":      func(r *Reader, n Node) any { return r.LastDay(n).Format(time.DateOnly) },
		"address":  func(r *Reader, n Node) any { a, _ := r.AddrPort(n); return a },
		"range":    func(r *Reader, n Node) any { p, _ := r.Prefix(n); return p },
	}
	for _, tt := range []struct {
		kind, text string
		want       any // nil: a problem
	}{
		{"text", "abc", "abc"}, {"text", "'12'", "12"}, {"text", "123456789", nil}, {"text", `"a\nb"`, nil}, {"text", "[a]", nil}, {"text", "", nil}, {"text", "!!str a", nil},
		{"word", "off", 1}, {"word", "Off", nil}, {"word", "{}", nil},
		{"integer", "-5", -5}, {"integer", "99", 99}, {"integer", "100", nil}, {"integer", "0x10", nil}, {"integer", "010", nil}, {"integer", "1_0", nil}, {"integer", "'7'", nil}, {"integer", "7.0", nil},
		{"count", "1", 1}, {"count", "0", nil},
		{"boolean", "true", true}, {"boolean", "yes", nil}, {"boolean", "True", nil}, {"boolean", "'true'", nil},
		{"duration", "90s", 90 * time.Second}, {"duration", "0s", nil}, {"duration", "90", nil}, {"duration", "-1s", nil},
		{"size", "16KiB", 16 << 10}, {"size", "2 MB", 2_000_000}, {"size", "7", 7}, {"size", "0", nil}, {"size", "1025MiB", nil}, {"size", "1kb", nil},
		{"day", "2027-01-31", "2027-02-01"}, {"day", "2027-02-30", nil}, {"day", "31.1.2027", nil},
		{"address", "127.0.0.1:80", netip.MustParseAddrPort("127.0.0.1:80")}, {"address", "'[::ffff:1.2.3.4]:5'", netip.MustParseAddrPort("1.2.3.4:5")},
		{"address", "localhost:80", nil}, {"address", "':80'", nil}, {"address", "80", nil}, {"address", "127.0.0.1", nil},
		{"range", "10.0.0.0/8", netip.MustParsePrefix("10.0.0.0/8")}, {"range", "10.0.0.1/8", nil}, {"range", "10.0.0.1", nil}, {"range", "'::ffff:10.0.0.0/104'", nil},
	} {
		var got any
		problems := read("k: "+tt.text+"\n", nil, func(r *Reader, n Node) { got = kinds[tt.kind](r, n) })
		switch {
		case tt.want == nil && (len(problems) != 1 || !strings.HasPrefix(problems[0], "dir/top.yaml:1: k: ") || !strings.Contains(problems[0], "; ")):
			t.Errorf("%s of %q: problems %q, want one of line 1 that says what would be right", tt.kind, tt.text, problems)
		case tt.want != nil && (len(problems) > 0 || !reflect.DeepEqual(got, tt.want)):
			t.Errorf("%s of %q = %v, %q; want %v", tt.kind, tt.text, got, problems, tt.want)
		}
	}
}

// What is wrong has the line of its key, or of itself in a list, and the keys
// that lead to it; all of a file comes out at once, in the order of its lines.
func TestProblemsHaveTheirLineAndTheWayToThem(t *testing.T) {
	t.Parallel()
	got := read("knwon: 1\nk:\n  a b:\n    - 1\n    - x: [2,\n        7]\nk: 3\n<<: {}\n", nil, func(r *Reader, n Node) {
		r.Members(n, func(_ string, member Node) {
			r.List(member, func(item Node) {
				if item.IsMapping() {
					r.Members(item, func(_ string, inner Node) {
						r.List(inner, func(last Node) { r.Integer(last, 7, 7) })
					})
					r.Require(item, map[string]Node{}, "write it", "y")
				}
			})
		})
	})
	want := []string{
		`dir/top.yaml:1: knwon: no such key; did you mean "known"?`,
		`dir/top.yaml:5: k."a b"[1].x[0]: 2 is not within 7-7; write a number that is`,
		`dir/top.yaml:5: k."a b"[1]: the key "y" is missing; write it`,
		`dir/top.yaml:7: k: it is already there on line 2; keep one of the two`,
		`dir/top.yaml:8: <<: merge keys are not read; write the keys out`,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A line of problems is a line of what was read: where an alias stands, not
// where its anchor does.
func TestAnAliasIsReadWhereItStands(t *testing.T) {
	t.Parallel()
	got := read("known: &a {x: 1}\n\nk: *a\n", nil, func(r *Reader, n Node) {
		if !n.IsMapping() || n.Line() != 3 || n.Position() != (Position{"dir/top.yaml", 3}) || n.Path() != "k" || n.Len() != 1 {
			t.Errorf("mapping %v of %d keys at %v, %s", n.IsMapping(), n.Len(), n.Position(), n.Path())
		}
		r.List(n, func(Node) {})
	})
	if want := "dir/top.yaml:3: k: it holds keys and values; write a list"; len(got) != 1 || got[0] != want {
		t.Errorf("problems %q, want %q", got, want)
	}
}

// A value that begins below its key has the line of the key.
func TestAValueBelowItsKeyHasTheLineOfTheKey(t *testing.T) {
	t.Parallel()
	got := read("known: 1\nk:\n\n  x: 1\n", nil, func(r *Reader, n Node) { r.List(n, func(Node) {}) })
	if want := "dir/top.yaml:2: k: it holds keys and values; write a list"; len(got) != 1 || got[0] != want {
		t.Errorf("problems %q, want %q", got, want)
	}
}

func TestWholeFilesAreRefusedWithTheCallersHints(t *testing.T) {
	t.Parallel()
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'j'; c++ {
		last := string(c - 1)
		bomb += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+last+", ", 9) + "*" + last + "]\n"
	}
	for text, want := range map[string]string{
		"":                  "1: file: it is empty; write a key",
		"# nothing\n":       "1: file: it is empty; write a key",
		"~\n":               "1: file: it is empty; write a key",
		bomb:                "7: file: its anchors expand to more than 2000000 values; write it once",
		"k: 1\n---\nk: 2\n": "2: file: a second document begins here; write one document",
		"k:\n\t- 1\n":       "2: file: a tab indents this line; write spaces",
		"k: \u202e\n":       "1: file: it has the invisible character U+202E; save it as plain UTF-8 text",
	} {
		got := read(text, nil, func(*Reader, Node) {})
		if len(got) != 1 || got[0] != "dir/top.yaml:"+want {
			t.Errorf("%.20q: %q, want %q", text, got, want)
		}
	}
}

func TestFilesAreOpenedOnceAndSortBehindTheDocument(t *testing.T) {
	t.Parallel()
	opened := map[string]int{}
	open := func(path string) ([]byte, error) {
		opened[path]++
		if path == "dir/gone" {
			return nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("no\nluck")}
		}
		return []byte("12345"), nil
	}
	got := read("k: [b, /a, b, gone]\nnope: 1\n", open, func(r *Reader, n Node) {
		r.List(n, func(item Node) {
			if data, path, ok := r.File(item, 4); ok || data != nil || path != "" {
				t.Errorf("a file that is too large, or is not there: %q, %q, %v", data, path, ok)
			}
		})
	})
	want := []string{
		`dir/top.yaml:1: k[3]: "gone" cannot be read (no luck); write the path of a file that can`,
		`dir/top.yaml:2: nope: no such key; write one of k, known`,
		`dir/b:1: k[0]: it is larger than 0 MiB; split it`,
		`dir/b:1: k[2]: it is larger than 0 MiB; split it`,
		`/a:1: k[1]: it is larger than 0 MiB; split it`,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if want := map[string]int{"dir/b": 1, "/a": 1, "dir/gone": 1}; !reflect.DeepEqual(opened, want) {
		t.Errorf("opened %v, want %v", opened, want)
	}
	if got := read("k: b\n", nil, func(r *Reader, n Node) { r.File(n, 9) }); len(got) != 1 || !strings.Contains(got[0], "stands alone") {
		t.Errorf("a file without a func to open it: %q", got)
	}
}

// The empty text is a text: what has a tag, or is none, is not it.
func TestOnlyATextIsTheEmptyText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{`""`: true, "''": true, "": false, "x": false, "[]": false, "!!str [x]": false, "{}": false} {
		got := false
		read("k: "+text+"\n", nil, func(_ *Reader, n Node) { got = n.IsEmptyText() })
		if got != want {
			t.Errorf("IsEmptyText of %s is %v", text, got)
		}
	}
}

// A line is read in pieces, and none of them costs a look at the rest of the line.
func TestLongLineIsReadInTimeInProportionToItsLength(t *testing.T) {
	const times, most = 8, 28
	read := func(n int) time.Duration {
		lines := &lineReader{rest: bytes.Repeat([]byte("x"), n)}
		var piece [1]byte
		began := time.Now()
		for {
			if _, err := lines.Read(piece[:]); err != nil {
				break
			}
		}
		if lines.count != 1 {
			t.Errorf("%d lines", lines.count)
		}
		return time.Since(began)
	}
	const n = 128 << 10
	ratio := 0.0
	for range 10 { // a machine that is busy makes one look long
		if ratio = float64(read(times*n)) / float64(max(read(n), time.Millisecond)); ratio <= most {
			return
		}
	}
	t.Errorf("a line %d times as long takes %.0f times as long", times, ratio)
}
