package token

import (
	"strings"
	"testing"
)

// A monotonic reading stands still while the machine is frozen, and Sub would go by it.
func TestWallClockHasNoMonotonicReading(t *testing.T) {
	t.Parallel()
	if now := wallClock().String(); strings.Contains(now, " m=") {
		t.Errorf("the clock says %s", now)
	}
}
