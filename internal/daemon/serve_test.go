package daemon

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/shutdown"
)

// What a platform is told of the end is the drain and five seconds.
func TestTheEndTakesFiveSecondsAtMost(t *testing.T) {
	t.Parallel()
	const lastWord = 500 * time.Millisecond // of the command line
	if shutdown.EndTime+flushTime+lastWord >= 5*time.Second || closeTime >= shutdown.EndTime {
		t.Errorf("%v, %v and %v", closeTime, shutdown.EndTime, flushTime)
	}
}

// The last record is written though something that was served hangs.
func TestWhatDoesNotCloseIsLeftBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		failed, hangs := errors.New("failed"), make(chan struct{})
		began := time.Now()
		if err := leaveBehind(func() error { return failed }); !errors.Is(err, failed) || time.Since(began) != 0 {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if err := leaveBehind(func() error { <-hangs; return nil }); !errors.Is(err, errNotClosed) || time.Since(began) != closeTime {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		close(hangs)
	})
}
