package evidence_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
)

func TestWhatTheProxyWritesIsWhole(t *testing.T) {
	lines := written(t, "b1")
	res := verified(t, file(t, "f", lines...))
	check(t, res)
	if !res.Complete || res.Records != seqStopped || len(res.Processes) != 1 || res.Files[0].Records != seqStopped {
		t.Fatalf("%+v", res)
	}
	b := res.Processes[0]
	last := sha256.Sum256([]byte(lines[seqStopped-1]))
	if b.First != 1 || b.Last != seqStopped || b.Totals != 3 || b.Tail != nil || b.LastHash != hex.EncodeToString(last[:]) {
		t.Errorf("%+v", b)
	}
	if got := b.To.Sub(b.From).Seconds(); got != seqStopped-1 {
		t.Errorf("from %s to %s", b.From, b.To)
	}
	if len(b.Policies) != 2 || b.Policies[0].Policy != "one" || b.Policies[1].Policy != "two" || b.Policies[1].Seq != seqReloaded ||
		!b.Policies[0].To.Equal(b.Policies[1].From) || !b.Policies[1].To.Equal(b.To) {
		t.Errorf("policies %+v", b.Policies)
	}
}

func TestEveryChangeShows(t *testing.T) {
	lines := written(t, "b1")
	other := written(t, "b2")
	swapped := slices.Clone(lines)
	swapped[8], swapped[9] = swapped[9], swapped[8]
	moved := slices.Insert(without(lines, 9, 11), 14, lines[8:11]...) // behind seq 17
	for _, c := range []struct {
		name  string
		lines []string
		want  []string
	}{
		{"a line is removed", without(lines, 9, 9), []string{"gap 9"}},
		{"a range is removed", without(lines, 9, 11), []string{"gap 9-11"}},
		{"two ranges are removed", without(without(lines, 14, 15), 3, 5), []string{"gap 3-5", "gap 14-15"}},
		{"the first line is removed", lines[1:], []string{"beginning 1"}},
		{"the first lines are removed", lines[9:], []string{"beginning 1-9"}},
		{"a host is changed", replaced(t, lines, 9, "evil.example", "good.example"), []string{"changed 9 @9"}},
		{"a first line is changed", replaced(t, lines, 1, "egress.yaml", "egresz.yaml"), []string{"changed 1 @1"}},
		{"the hash in a line is changed", replaced(t, lines, 9, prevField.FindString(lines[8]), `"prev":"`+strings.Repeat("0", 64)+`"`), []string{"changed 8 @8", "changed 9 @9"}},
		{"the first hash is another", rechained("b9", lines), []string{"changed 1 @1"}},
		{"two lines are swapped", swapped, []string{"reordered 9 @10"}},
		{"lines are moved back", moved, []string{"reordered 9-11 @15"}},
		{"a line stands twice", slices.Insert(slices.Clone(lines), 9, lines[8]), []string{"duplicated 9 @10"}},
		{"a line stands again later", slices.Insert(slices.Clone(lines), 14, lines[8]), []string{"duplicated 9 @15"}},
		{"all stands twice", append(slices.Clone(lines), lines...), []string{"duplicated 1-20 @21"}},
		{"a line stands again otherwise", slices.Insert(slices.Clone(lines), 14, replaced(t, lines, 9, "evil.", "good.")[8]), []string{"forked 9 @15"}},
		{"a number is changed", replaced(t, lines, 9, `"seq":9,`, `"seq":5,`), []string{"forked 5 @9", "gap 9"}},
		{"totals are changed", replaced(t, lines, seqHeartbeat, `"host_not_allowed":8`, `"host_not_allowed":7`), []string{"changed 7 @7", "totals 7 @7", "totals 16 @16"}},
		{"a line is taken out and the rest written anew but for the totals", rechained("b1", without(lines, 9, 9)), []string{"totals 15 @15"}},
		{"a line is taken out and the rest chained anew with the old numbers", renumbered(rechained("b1", without(lines, 9, 9)), 9, 1), []string{"gap 9"}},
		{"a reason is changed and the rest chained anew", rechained("b1", replaced(t, lines, 9, "host_not_allowed", "host_denied")), []string{"totals 16 @16"}},
		{"a line is put between", rechained("b1", slices.Insert(slices.Clone(lines), 9, lines[8])), []string{"totals 17 @17"}},
		{"a line of another boot takes the place of one", replaced(t, slices.Insert(without(lines, 9, 9), 8, other[8]), 9, `"boot":"b2"`, `"boot":"b1"`), []string{"changed 8 @8", "changed 9 @9"}},
		{"lines stand behind the end", rechained("b1", append(slices.Clone(lines), lines[8])), []string{"stopped 20"}},
		{"a part of a line stands between", slices.Insert(slices.Clone(lines), 9, lines[9][:100]), []string{"torn 10 @10"}},
		{"a line is cut", replaced(t, lines, 9, lines[8][200:], ""), []string{"gap 9", "torn 9 @9"}},
		{"a line is made foreign", replaced(t, lines, 9, `{"time"`, `{"_aws":{},"time"`), []string{"gap 9"}},
		{"totals are no counts", rechained("b1", replaced(t, lines, seqHeartbeat, `"host_not_allowed":8`, `"host_not_allowed":-8,"dns_failed":0`)), []string{"totals 7 @7"}},
		{"a count of totals is a text", rechained("b1", replaced(t, lines, seqHeartbeat, `"host_not_allowed":8`, `"dns_failed":0,"host_not_allowed":"8"`)), []string{"totals 7 @7"}},
		{"totals have no reasons first", rechained("b1", replaced(t, lines, seqHeartbeat, `"refused":{"host_not_allowed":8}`, `"refused":8`)), []string{"totals 7 @7"}},
		{"totals have no reasons last", rechained("b1", replaced(t, lines, seqHeartbeat, `"closed":{"none":1}`, `"closed":1`)), []string{"totals 7 @7"}},
		{"a line has a member twice", replaced(t, lines, 9, `{"time"`, `{"seq":9,"time"`), []string{"gap 9"}},
	} {
		t.Run(c.name, func(t *testing.T) { check(t, verifiedLines(c.lines...), c.want...) })
	}
}

// renumbered adds n to the numbers of the lines from the given one on, and
// chains them anew.
func renumbered(lines []string, from, n int) []string {
	out := slices.Clone(lines)
	prev := sha256.Sum256([]byte(out[from-2]))
	for i := from - 1; i < len(out); i++ {
		out[i] = seqField.ReplaceAllString(out[i], fmt.Sprintf(`"seq":%d`, i+1+n))
		out[i] = prevField.ReplaceAllString(out[i], `"prev":"`+hex.EncodeToString(prev[:])+`"`)
		prev = sha256.Sum256([]byte(out[i]))
	}
	return out
}

func TestEveryByteOfALineIsProtected(t *testing.T) {
	lines := written(t, "b1")
	for _, n := range []int{1, seqClosed, seqHeartbeat, seqReloaded} {
		for at := range lines[n-1] {
			changed := slices.Clone(lines)
			b := []byte(changed[n-1])
			if b[at]++; b[at] == 0x7f {
				b[at] = ' '
			}
			changed[n-1] = string(b)
			if res := verifiedLines(changed...); res.Whole {
				t.Errorf("byte %d of line %d is changed, and it is whole: %s", at, n, b)
			}
		}
	}
}

func TestTotalsNameWhatAGapHid(t *testing.T) {
	for gap, want := range map[string]string{
		"gap 3":   "missing; by the totals of seq 7: 5 of refused/host_not_allowed",
		"gap 3-4": "missing; by the totals of seq 7: 5 of refused/host_not_allowed, 1 of closed/none",
	} {
		res := verifiedLines(without(written(t, "b1"), 3, 3+strings.Count(gap, "-"))...)
		check(t, res, gap)
		if text := res.Processes[0].Findings[0].Text; text != want {
			t.Errorf("the text of %s: %s", gap, text)
		}
	}
}

func TestIdenticalAndOtherRepetitionsAreToldApart(t *testing.T) {
	lines := written(t, "b1")
	res := verifiedLines(append(slices.Clone(lines), lines[4:9]...)...)
	if text := res.Processes[0].Findings[0].Text; !strings.Contains(text, "byte by byte") {
		t.Errorf("the text of a repetition: %s", text)
	}
}

// The hashes of the last 1,024 records are kept, and those of both ends.
func TestRepetitionOfWhatWasForgottenIsNotCalledTheSame(t *testing.T) {
	const n = 3000
	var lines []string
	chain(n, func(line []byte) { lines = append(lines, string(line)) })
	for seq, same := range map[int]bool{1: true, 2: false, n - 1024: false, n - 1023: true, n: true} {
		res := verifiedLines(append(slices.Clone(lines), lines[seq-1])...)
		check(t, res, fmt.Sprintf("duplicated %d @%d", seq, n+1))
		if text := res.Processes[0].Findings[0].Text; strings.Contains(text, "byte by byte") != same || strings.Contains(text, "not compared") == same {
			t.Errorf("seq %d is repeated: %s", seq, text)
		}
	}
}

// A tunnel that was opened under a policy is closed under it, after the next one came.
func TestOnlyTheProxysOwnRecordsSayWhichPolicyIsInForce(t *testing.T) {
	lines := replaced(t, replaced(t, written(t, "b1"), seqReloaded+1, `"policy":"two"`, `"policy":"one"`), 16, `"policy":"two"`, `"policy":""`)
	res := verifiedLines(rechained("b1", lines)...)
	check(t, res)
	if p := res.Processes[0].Policies; len(p) != 2 || p[0].Policy != "one" || p[1].Policy != "two" || p[1].Seq != seqReloaded {
		t.Errorf("policies %+v", p)
	}
}

// The chain cannot show it: what is said about it in the package comment is
// true, and the last hash is the way out.
func TestWhatWasWrittenAnewToTheEndShowsByTheLastHashAlone(t *testing.T) {
	lines := written(t, "b1")
	forged := replaced(t, without(lines, 9, 9), 15, `"host_not_allowed":15`, `"host_not_allowed":14`)
	forged = rechained("b1", replaced(t, forged, 19, `"host_not_allowed":18`, `"host_not_allowed":17`))
	a, b := verifiedLines(lines...), verifiedLines(forged...)
	check(t, b)
	if a.Processes[0].LastHash == b.Processes[0].LastHash {
		t.Error("the last hashes are the same")
	}
}

func TestTailOfABootIsDeclared(t *testing.T) {
	lines := written(t, "b1")
	for _, c := range []struct {
		name  string
		lines []string
		tail  evidence.Tail
	}{
		{"the end is missing", lines[:15], evidence.Tail{After: 15}},
		{"the last line is torn", append(slices.Clone(lines[:15]), lines[15][:90]), evidence.Tail{After: 15, Partial: 1}},
		{"the last line has hardly begun", append(slices.Clone(lines[:15]), `{"ti`), evidence.Tail{After: 15, Partial: 1}},
		{"another boot follows", append(append(slices.Clone(lines[:15]), lines[15][:90]), written(t, "b2")...), evidence.Tail{After: 15, Partial: 1}},
		{"no line is whole", []string{lines[0][:150]}, evidence.Tail{Partial: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := verifiedLines(append(written(t, "b0"), c.lines...)...)
			check(t, res)
			i := slices.IndexFunc(res.Processes, func(b evidence.Process) bool { return b.Name == "b1" })
			if res.Complete || res.Processes[i].Tail == nil || *res.Processes[i].Tail != c.tail {
				t.Errorf("tail %+v, want %+v; complete %t", res.Processes[i].Tail, c.tail, res.Complete)
			}
		})
	}
}

func TestRemovedEndShowsWhereTheBootHasStopped(t *testing.T) {
	lines := written(t, "b1")
	check(t, verifiedLines(without(lines, 17, 19)...), "gap 17-19")
}

func TestBootOfWhichOnlyALaterPartIsThereHasNoBeginning(t *testing.T) {
	res := verifiedLines(append(written(t, "b0"), written(t, "b1")[8][:150])...)
	check(t, res, "beginning 1-8 @21")
}

func TestPartsAloneShowWhatIsMissingBetweenThem(t *testing.T) {
	lines := written(t, "b1")
	check(t, verifiedLines(append(written(t, "b0"), lines[8][:150], lines[8][:150], lines[9][:150], lines[12][:150])...),
		"beginning 1-8 @21", "beginning 11-12 @24")
}

func TestPartOfALineBehindTheEndIsAFindingUnlessTheLineIsThere(t *testing.T) {
	lines := written(t, "b1")
	check(t, verifiedLines(append(slices.Clone(lines), strings.Replace(lines[seqStopped-1], `"seq":20,`, `"seq":21,`, 1)[:150])...), "torn 21 @21")
	// As it is where the file was moved away in the middle of a line.
	for _, seq := range []int{10, seqStopped} {
		check(t, verified(t, file(t, "a", append(slices.Clone(lines[:seq-1]), lines[seq-1][:150])...), file(t, "b", lines[seq-1:]...)))
	}
}

func TestFilesMayComeInAnyOrder(t *testing.T) {
	one, two := written(t, "b1"), written(t, "b2")
	parts := []string{
		file(t, "a", append(slices.Clone(one[:6]), two[:3]...)...),
		file(t, "b", one[6:13]...),
		file(t, "c", append(slices.Clone(two[3:15]), one[13:]...)...),
		file(t, "d", two[15:]...),
	}
	for range 24 {
		rand.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		res := verified(t, parts...)
		check(t, res)
		if !res.Complete || res.Records != 2*seqStopped {
			t.Fatalf("%v: %+v", parts, res)
		}
		for _, b := range res.Processes {
			if len(b.Policies) != 2 || b.Totals != 3 {
				t.Errorf("%v: %+v", parts, b)
			}
		}
	}
}

func TestTotalsAreComparedOverFilesInTheWrongOrder(t *testing.T) {
	lines := rechained("b1", replaced(t, written(t, "b1"), 3, "host_not_allowed", "host_denied"))
	a, b := file(t, "a", lines[:10]...), file(t, "b", lines[10:]...)
	check(t, verified(t, b, a), "totals 7 @7")
	c, d := file(t, "c", lines[:5]...), file(t, "d", lines[5:]...)
	check(t, verified(t, d, c), "totals 7 @2")
}

func TestOverlapOfFilesIsARepetition(t *testing.T) {
	lines := written(t, "b1")
	a, b := file(t, "a", lines[:12]...), file(t, "b", lines[8:]...)
	check(t, verified(t, a, b), "duplicated 9-12 @1")
	check(t, verified(t, b, a), "duplicated 9-12 @9")
	forged := rechained("b1", replaced(t, lines, 9, "evil", "good"))
	check(t, verified(t, a, file(t, "c", forged[8:]...)), "forked 9-12 @1", "changed 12 @12")
}

func TestChangeIsFoundAcrossFiles(t *testing.T) {
	lines := replaced(t, written(t, "b1"), 9, "evil", "good")
	check(t, verified(t, file(t, "b", lines[9:]...), file(t, "a", lines[:9]...)), "changed 9 @9")
}

func TestLinesOfOthersAreCountedAndSkipped(t *testing.T) {
	lines := written(t, "b1")
	mixed := []string{`{"_aws":{"Timestamp":1},"seq":1,"boot":"b1","event":"x","prev":"y"}`, `{"level":"INFO","msg":"serving","boot":"b1"}`}
	mixed = append(append(mixed, lines...), "panic: no", "", `[1,2]`)
	res := verified(t, file(t, "f", mixed...))
	check(t, res)
	if res.OtherJSON != 3 || res.Unreadable != 1 || res.Complete || res.Files[0].FirstUnreadable != 23 {
		t.Errorf("%+v", res)
	}
}

func TestLostEventsAreAFinding(t *testing.T) {
	lines := written(t, "b1")
	res := verifiedLines(replaced(t, lines, seqStopped, `"lost":0`, `"lost":3`)...)
	check(t, res, "lost")
	if res.Processes[0].Lost != 3 {
		t.Errorf("%+v", res.Processes[0])
	}
}

func TestFileWithoutARecordIsNotWhole(t *testing.T) {
	check(t, verified(t, file(t, "f", written(t, "b1")...), file(t, "g", "")), "empty")
	if res := verified(t); res.Whole {
		t.Error("nothing is whole")
	}
}

func TestRecordThatIsAnotherBootsShowsInBoth(t *testing.T) {
	res := verifiedLines(replaced(t, written(t, "b1"), 9, `"boot":"b1"`, `"boot":"b9"`)...)
	check(t, res, "gap 9", "beginning 1-8")
}

// chain makes simple records fast: n of them, the first with the given seq.
func chain(n int, each func(line []byte)) {
	prev := sha256.Sum256([]byte("b1"))
	for i := range n {
		line := fmt.Appendf(nil, `{"time":"2026-11-22T04:00:00.000000001Z","event":"refused","boot":"b1","seq":%d,"prev":"%x","policy":"p","verdict":"deny","reason":"not_listed"}`, i+1, prev)
		prev = sha256.Sum256(line)
		each(line)
	}
}

func TestMemoryDoesNotGrowWithTheLines(t *testing.T) {
	held := func(n int) uint64 {
		v := evidence.NewVerifier()
		chain(n, func(line []byte) { v.Add(evidence.Line{File: "f", Number: 1, Raw: line}) })
		if res := v.Result(); !res.Whole || res.Records != uint64(n) {
			t.Fatalf("%+v", res)
		}
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		runtime.KeepAlive(v)
		return m.HeapAlloc
	}
	n := 200_000
	if raced {
		n = 40_000 // 64 bytes kept of each would show there, too
	}
	held(2_000) // what is made once
	few, many := held(10_000), held(n)
	if many > few+1<<20 {
		t.Errorf("%d bytes are held after 10,000 lines, %d after %d", few, many, n)
	}
}

// BenchmarkVerify measures Read and Verifier over a file of records in the page
// cache. It leaves out the disk; the file is one boot over and over, so that most
// lines are compared as repetitions.
func BenchmarkVerify(b *testing.B) {
	lines := written(b, "b1")
	for range 11 {
		lines = append(lines, lines...)
	}
	path := file(b, "f", lines...)
	b.ReportAllocs()
	for b.Loop() {
		verified(b, path)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(lines)), "ns/line")
}
