package logqueue

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// slowReader is an output that takes a line only when it is told to.
type slowReader struct {
	take chan error // what each Write returns
	out  bytes.Buffer
}

func (s *slowReader) Write(p []byte) (int, error) {
	if err := <-s.take; err != nil {
		return 0, err
	}
	return s.out.Write(p)
}

// takes lets n lines through, each with the error.
func (s *slowReader) takes(n int, err error) {
	for range n {
		s.take <- err
	}
}

// count returns what the metric of a queue counts, as it is registered.
func count(t *testing.T, q *Queue) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(q.dropped)
	families, err := reg.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "egress_log_lines_dropped_total" {
		t.Fatalf("gathered %v, %v", families, err)
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

func TestNobodyWaitsForAnOutputThatTakesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out := &slowReader{take: make(chan error)}
		q := New(out, Options{Lines: 8, Bytes: 1000})
		log := slog.New(slog.NewJSONHandler(q, nil))
		for i := range 8 {
			log.Info("kept", "i", i)
		}
		for range 5 {
			log.Info("dropped")
		}
		if got := count(t, q); got != 5 {
			t.Errorf("%v lines were dropped, want 5", got)
		}
		began := time.Now()
		if q.Close(time.Second) {
			t.Error("Close says that all lines are out")
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("Close took %v", took)
		}
		out.takes(9, nil) // the eight, and how many were lost
		synctest.Wait()
		lines := strings.Split(strings.TrimSpace(out.out.String()), "\n")
		if len(lines) != 9 {
			t.Fatalf("%d lines: %s", len(lines), out.out.String())
		}
		for i, line := range lines {
			var l struct {
				Msg      string
				I, Lines int
			}
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatal(err)
			}
			if lost := l.Lines == 5; lost == (l.Msg == "kept") {
				t.Errorf("line %d: %s", i, line)
			}
		}
	})
}

func TestTheQueueIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out := &slowReader{take: make(chan error)}
		q := New(out, Options{Lines: 100, Bytes: 30})
		for range 3 {
			_, _ = q.Write([]byte("0123456789"))
		}
		_, _ = q.Write([]byte("x"))
		if got := count(t, q); got != 1 || q.bytes != 30 {
			t.Errorf("%v lines were dropped, %d bytes kept", got, q.bytes)
		}
		out.takes(1, nil)
		synctest.Wait()
		_, _ = q.Write([]byte("y"))
		if q.bytes != 21 {
			t.Errorf("%d bytes are kept after a line was taken", q.bytes)
		}
		out.takes(4, nil) // the two, "y", and the loss
		if !q.Close(time.Second) || q.bytes != 0 || q.lines != nil {
			t.Errorf("after all were taken: %d bytes, %d lines", q.bytes, len(q.lines))
		}
	})
}

// A reader that is gone fails every write: those lines are lost, and the loss is told
// when somebody reads again, not to an output that fails.
func TestLinesThatTheOutputRefusesAreCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out := &slowReader{take: make(chan error)}
		q := New(out, Options{})
		for range 3 {
			_, _ = q.Write([]byte("gone\n"))
		}
		out.takes(3, errors.New("broken pipe"))
		synctest.Wait()
		if n := count(t, q); n != 3 || len(q.lines) != 0 {
			t.Errorf("%v lines are counted, %d wait", n, len(q.lines))
		}
		_, _ = q.Write([]byte("read\n"))
		out.takes(2, nil)
		if !q.Close(time.Second) {
			t.Error("Close says that lines are left")
		}
		if got := out.out.String(); !strings.HasPrefix(got, "read\n") || !strings.Contains(got, `"lines":3`) {
			t.Errorf("the output has %q", got)
		}
	})
}

func TestLinesOfManyWritersStayWhole(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	q := New(&out, Options{})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				_, _ = io.WriteString(q, "0123456789\n")
			}
		})
	}
	all.Wait()
	if !q.Close(time.Minute) {
		t.Fatal("lines are left")
	}
	if got, want := out.String(), strings.Repeat("0123456789\n", 800); got != want {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
	_, _ = io.WriteString(q, "late\n")
	if strings.Contains(out.String(), "late") || count(t, q) != 1 {
		t.Error("a line after the end was not dropped")
	}
}
