package evidence

import (
	"fmt"
	"testing"
)

// Each record has the number after the next, so that nothing follows on anything.
func TestBreaksBeyondTheRoomAreNotWhole(t *testing.T) {
	v := NewVerifier()
	v.maxSegments = 2 * maxFindings
	for i := range 3 * maxFindings {
		line := fmt.Appendf(nil, `{"event":"refused","boot":"b1","seq":%d,"prev":"%064d"}`, 1+2*i, 0)
		v.Add(Line{File: "f", Number: 1 + i, Raw: line})
	}
	res := v.Result()
	if res.Whole || len(res.Findings) != 1 || res.Findings[0].Kind != KindDisorder || v.segments != v.maxSegments {
		t.Errorf("%d segments, %+v", v.segments, res.Findings)
	}
	if b := res.Processes[0]; len(b.Findings) != maxFindings || b.More != uint64(v.maxSegments)-maxFindings {
		t.Errorf("%d findings and %d more", len(b.Findings), b.More)
	}
}
