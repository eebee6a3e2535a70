package dnsfilter_test

import (
	"testing"
	"testing/synctest"
	"time"
)

// synctestRun runs a test on a clock that pass moves.
func synctestRun(t *testing.T, test func(t *testing.T, pass func(seconds int))) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(t, func(seconds int) { time.Sleep(time.Duration(seconds) * time.Second) })
	})
}
