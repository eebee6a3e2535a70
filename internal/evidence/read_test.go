package evidence_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
)

// zipped is s as one gzip member.
func zipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.String()
}

// subscription is the object that CloudWatch Logs sends to Firehose.
func subscription(kind string, lines ...string) string {
	var events []string
	for i, l := range lines {
		events = append(events, fmt.Sprintf(`{"id":"3%d","timestamp":17637840%02d000,"message":%s}`, i, i, quoted(l)))
	}
	return `{"messageType":"` + kind + `","owner":"123456789012","logGroup":"/ecs/proxy","logStream":"a/b","subscriptionFilters":["f"],"logEvents":[` +
		strings.Join(events, ",") + `]}`
}

// filtered is what aws logs filter-log-events prints.
func filtered(lines ...string) string {
	type event struct {
		LogStreamName string `json:"logStreamName"`
		Timestamp     int64  `json:"timestamp"`
		Message       string `json:"message"`
	}
	doc := map[string]any{"searchedLogStreams": []string{}, "nextToken": nil}
	var events []event
	for _, l := range lines {
		events = append(events, event{"s", 1, l})
	}
	doc["events"] = events
	b, err := json.MarshalIndent(doc, "", "    ")
	if err != nil {
		panic(err)
	}
	return string(b) + "\n"
}

// each joins lines as f makes them.
func each(lines []string, f func(string) string) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(f(l))
	}
	return b.String()
}

// given returns what Read gives of a text.
func given(text string) (lines []string, err error) {
	err = evidence.Read([]string{"-"}, strings.NewReader(text), func(l evidence.Line) error {
		lines = append(lines, string(l.Raw))
		return nil
	})
	return lines, err
}

func TestEveryEnvelopeIsTakenOff(t *testing.T) {
	lines := written(t, "b1")
	lines[3] = strings.Replace(lines[3], "billing", `b\"il\u2028\u202e\\l/ü✓𝄞`, 1)
	plain := strings.Join(lines, "\n") + "\n"
	export := each(lines, func(l string) string { return "2026-11-22T04:00:00.000Z " + l + "\n" })
	data := subscription("DATA_MESSAGE", lines[:9]...) + subscription("CONTROL_MESSAGE", "CWL CONTROL MESSAGE: Checking health of destination Firehose.") +
		subscription("DATA_MESSAGE", lines[9:]...)
	firelens := func(l string) string {
		return `{"container_id":"ab","container_name":"proxy","ecs_task_arn":"arn:aws:ecs:x","log":` + quoted(l) + `,"source":"stdout"}`
	}
	for _, c := range []struct{ name, text string }{
		{"as written", plain},
		{"without the last newline", strings.TrimSuffix(plain, "\n")},
		{"gzip", zipped(plain)},
		{"gzip in two members", zipped(plain[:5000]) + zipped(plain[5000:])},
		{"gzip in gzip", zipped(zipped(plain))},
		{"export of CloudWatch Logs", zipped(export)},
		{"aws logs tail", each(lines, func(l string) string { return "2026-11-22T04:00:00.123000+00:00 proxy/proxy/0a1b " + l + "\n" })},
		{"subscription", data},
		{"subscription in a member each", zipped(subscription("DATA_MESSAGE", lines[:9]...)) + zipped(subscription("DATA_MESSAGE", lines[9:]...))},
		{"subscription with newlines between", strings.ReplaceAll(data, "]}{", "]}\n{")},
		{"messages with newlines", subscription("DATA_MESSAGE", strings.Split(strings.ReplaceAll(plain, "\n", "\n|"), "|")[:20]...)},
		{"filter-log-events", filtered(lines...)},
		{"get-log-events", `{"nextForwardToken":"f/1","events":[{"timestamp":1,"message":` + quoted(lines[0]) + "}]}" + filtered(lines[1:]...)},
		{"FireLens", each(lines, func(l string) string { return firelens(l) + "\n" })},
		{"Docker", each(lines, func(l string) string {
			return `{"log":` + quoted(l+"\n") + `,"stream":"stdout","time":"2026-11-22T04:00:00Z"}` + "\n"
		})},
		{"FireLens to CloudWatch Logs and on", subscription("DATA_MESSAGE", strings.Split(each(lines, func(l string) string { return firelens(l) + "|" }), "|")[:20]...)},
		{"several in one file", strings.Join(lines[:5], "\n") + "\n" + filtered(lines[5:9]...) + each(lines[9:], func(l string) string { return firelens(l) + "\n" })},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := given(c.text)
			if err != nil || !slices.Equal(got, lines) {
				t.Errorf("%d lines, %v; want %d\n%q", len(got), err, len(lines), got)
			}
		})
	}
}

func TestRecordWithAMemberLogIsNoEnvelope(t *testing.T) {
	for _, line := range []string{
		strings.Replace(written(t, "b1")[0], `"detail":`, `"log":"x","detail":`, 1),
		`{"boot":"b1","seq":1,"log":"x"}`,
		`{"_aws":{},"log":"x"}`,
		`{"log":"x","log":"y"}`,
		`{"log":{"boot":"b1"}}`,
	} {
		if got, err := given(line); err != nil || len(got) != 1 || got[0] != line {
			t.Errorf("%s is given as %q, %v", line, got, err)
		}
	}
}

func TestOrderOfExportsIsNotTheWriters(t *testing.T) {
	lines := written(t, "b1")
	shuffled := append(slices.Clone(lines[10:]), lines[:10]...)
	export := each(shuffled, func(l string) string { return "2026-11-22T04:00:00.000Z " + l + "\n" })
	check(t, verified(t, file(t, "f", export)))
	check(t, verified(t, file(t, "f", filtered(shuffled...))))
	check(t, verified(t, file(t, "f", shuffled...)), "reordered 1-10 @11")
}

func TestLinesAreNumbered(t *testing.T) {
	var got []int
	text := "{}\n\n{}\n" + filtered("{}", "{}")
	err := evidence.Read([]string{"-"}, strings.NewReader(text), func(l evidence.Line) error {
		got = append(got, l.Number)
		return nil
	})
	if want := []int{1, 3, 4, 5}; err != nil || !slices.Equal(got, want) {
		t.Errorf("numbers %v, %v; want %v", got, err, want)
	}
}

func TestLineThatIsTooLongIsOneThatCannotBeRead(t *testing.T) {
	lines := written(t, "b1")
	long := `{"time":"` + strings.Repeat("x", 3<<19) + `"}`
	spaces := lines[8] + strings.Repeat(" ", 3<<19)
	for name, text := range map[string]string{
		"a line":              strings.Join(slices.Insert(slices.Clone(lines), 9, long), "\n"),
		"a record and spaces": strings.Join(slices.Insert(slices.Clone(lines), 9, spaces), "\n"),
		"a message":           filtered(slices.Insert(slices.Clone(lines), 9, long)...),
		"a long message":      filtered(slices.Insert(slices.Clone(lines), 9, strings.Repeat("a\\", 3<<18))...),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := given(text)
			if err != nil || len(got) != len(lines)+1 {
				t.Fatalf("%d lines, %v", len(got), err)
			}
			if _, err := evidence.Parse([]byte(got[9])); !errors.Is(err, evidence.ErrNoRecord) || len(got[9]) > 1024 {
				t.Errorf("%d bytes: %v", len(got[9]), err)
			}
		})
	}
}

// What is kept of a long key may end within an escape.
func TestKeyThatIsTooLongIsNoneThatIsKnown(t *testing.T) {
	lines := written(t, "b1")
	doc := filtered(lines...)
	for n := range 12 {
		for _, escape := range []string{`\n`, `\u00e9`, `\ud834\udd1e`} {
			key := `"` + strings.Repeat("a", n) + strings.Repeat(escape, 100) + `":"x",`
			got, err := given(strings.Replace(strings.Replace(doc, `"nextToken":`, key+`"nextToken":`, 1), `"message":`, key+`"message":`, 1))
			if err != nil || !slices.Equal(got, lines) {
				t.Fatalf("%d bytes before an escape: %d lines, %v", n, len(got), err)
			}
		}
	}
}

// endless is a text that never ends and has no newline.
type endless struct{ left int }

func (e *endless) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	for i := range p {
		p[i] = 'x'
	}
	e.left -= len(p)
	return len(p), nil
}

func TestMemoryDoesNotGrowWithALine(t *testing.T) {
	for name, start := range map[string]string{"line": `{"time":"`, "message": `{"events":[{"message":"`, "key": `{"events":[{"`} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_ = evidence.Read([]string{"-"}, io.MultiReader(strings.NewReader(start), &endless{32 << 20}), func(evidence.Line) error { return nil })
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; got > 24<<20 {
				t.Errorf("%d bytes for a line of 32 MiB", got)
			}
		})
	}
}

func TestDamagedFileIsAnError(t *testing.T) {
	lines := written(t, "b1")
	doc, pressed := filtered(lines...), zipped(strings.Join(lines, "\n"))
	for name, text := range map[string]string{
		"gzip that ends early":        pressed[:len(pressed)-20],
		"gzip with a wrong sum":       pressed[:len(pressed)-8] + "12345678",
		"no gzip behind its magic":    "\x1f\x8b\x00\x00",
		"document that ends early":    doc[:len(doc)/2],
		"document that is no JSON":    strings.Replace(doc, `"timestamp": 1`, `"timestamp" 1`, 1),
		"events that are not objects": `{"events":["x"]}`,
		"events that are no array":    `{"events":{}}`,
		"a message that is no text":   `{"events":[{"message":{}}]}`,
		"a message of no JSON":        `{"events":[{"message":"\x"}]}`,
		"no comma":                    `{"events":[] "a":1}`,
	} {
		if _, err := given(text); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestFileThatIsNotThereIsAnErrorThatNamesIt(t *testing.T) {
	err := evidence.Read([]string{"no-such-file"}, nil, nil)
	if err == nil || err.Error() != "reading no-such-file: no such file or directory" {
		t.Error(err)
	}
}

func TestErrorOfEachEndsTheReading(t *testing.T) {
	full := errors.New("full")
	for name, text := range map[string]string{"lines": "{}\n{}\n", "document": filtered("{}", "{}")} {
		n := 0
		err := evidence.Read([]string{"-"}, strings.NewReader(text), func(evidence.Line) error { n++; return full })
		if !errors.Is(err, full) || n != 1 {
			t.Errorf("%s: %d calls, %v", name, n, err)
		}
	}
}

// FuzzRead proves that no input makes Read panic, give a line that is longer
// than it says, or use memory beyond a bound that the input's size gives.
func FuzzRead(f *testing.F) {
	lines := written(f, "b1")
	for _, seed := range []string{
		strings.Join(lines[:3], "\n"), filtered(lines[0]), subscription("DATA_MESSAGE", lines[0]), zipped(lines[0]), subscription("CONTROL_MESSAGE", "x"),
		"2026-11-22T04:00:00.000Z " + lines[0], `{"log":` + quoted(lines[0]) + `}`, `{"events":[{"message":"\u00`, `{"events":[{"message":`, "2026-11-22T04:00:00.000Z ",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		v, read := evidence.NewVerifier(), 0
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := evidence.Read([]string{"-"}, bytes.NewReader(data), func(l evidence.Line) error {
			if read += len(l.Raw); len(l.Raw) > 1<<20 || len(l.Raw) == 0 {
				t.Fatalf("a line of %d bytes", len(l.Raw))
			}
			v.Add(l)
			if read > 8<<20 { // gzip makes much of little
				return io.ErrShortBuffer
			}
			return nil
		})
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 256<<20 {
			t.Errorf("%d bytes allocated for %d, %v", got, len(data), err)
		}
		v.Result()
	})
}
