package repo

import (
	"go/ast"
	"path"
	"slices"
	"strings"
	"testing"
)

// wallClock is where the program strips the monotonic reading from a time, or makes one
// from the numbers of the wall clock, how often, and why that measures no timeout.
var wallClock = map[string]struct {
	calls int
	why   string
}{
	"internal/attest/claims.go":                  {2, "the times of a token, in Unix seconds"},
	"internal/audit/record/encoder.go":           {3, "the time of a record, as people read it"},
	"internal/daemon/metrics.go":                 {1, "the time of a load, as a metric"},
	"internal/dnsserver/connections.go":          {1, "a deadline that has passed whatever the clock says"},
	"internal/dnsserver/socket_other.go":         {1, "the same"},
	"internal/egresstest/alarms/history.go":      {1, "periods of CloudWatch begin with the minute; for tests"},
	"internal/egresstest/alarms/scrapes.go":      {1, "the times of metrics; for tests"},
	"internal/emf/line.go":                       {1, "the time of a line, as CloudWatch reads it"},
	"internal/evidence/conclusion/conclusion.go": {1, "the times of records"},
	"internal/expiry/expiry.go":                  {2, "when something ends, as people read it"},
	"internal/policytool/ready/ready.go":         {1, "a day, as people read it"},
	"internal/policytool/schedule/schedule.go":   {3, "when a schedule is due, by the calendar"},
	"internal/expiry/watch.go":                   {1, "the same, as a metric"},
	"internal/egresstest/awslocal/awslocal.go":   {1, "the time at which a token ends, as STS writes it; for tests"},
	"internal/extension/doctor/doctor.go":        {3, "the time at which a token was made, beside the machine's clock; the extension is another program"},
	"internal/extension/relay/relay.go":          {1, "the same as of tunnel.go beside it"},
	"internal/extension/relay/tunnel.go":         {1, "a freeze shows as a jump of the wall clock alone; the extension is another program"},
	"internal/extension/token/token.go":          {1, "a token ends by the wall clock, whatever a freeze does to the other; the same program"},
	"internal/forward/upload.go":                 {1, "a deadline that has passed whatever the clock says"},
	"internal/inflight/inflight.go":              {1, "the same"},
	"internal/ocsf/compliance.go":                {1, "when a check was made"},
	"internal/ocsf/convert.go":                   {2, "the times of records"},
	"internal/policy/decide.go":                  {1, "expiry and report mode are dates"},
	"internal/policy/policy.go":                  {4, "the same"},
	"internal/policy/rule.go":                    {1, "the same"},
	"internal/policytool/learn/learn.go":         {2, "the days of records, as people count them"},
	"internal/policytool/traffic/activity.go":    {3, "the same"},
	"internal/policytool/traffic/chain.go":       {2, "the same"},
	"internal/policytool/traffic/traffic.go":     {2, "the same"},
	"internal/egresstest/records.go":             {1, "the times of records; for tests"},
	"internal/policydiff/policydiff.go":          {1, "the same"},
	"internal/policy/union.go":                   {2, "the same"},
	"internal/posture/reader/read.go":            {1, "when a snapshot was made, as people read it"},
	"internal/reactor/conn_linux.go":             {1, "a deadline that has passed whatever the clock says"},
	"internal/report/probes.go":                  {1, "the times of probes"},
	"internal/report/probes/probes.go":           {10, "the same"},
	"internal/report/process.go":                 {1, "the times of records"},
	"internal/report/refusals.go":                {1, "the same"},
	"internal/report/tally/count.go":             {1, "the same"},
	"internal/report/tally/tally.go":             {2, "the same"},
	"internal/report/doc/cell.go":                {1, "the same"},
	"internal/resolve/upstream/transport.go":     {2, "deadlines that have passed whatever the clock says"},
	"internal/source/file.go":                    {2, "the times of a file, compared with themselves"},
	"internal/source/status_linux.go":            {1, "the same"},
	"internal/standin/handler.go":                {1, "the times of a token; no part of the program"},
	"internal/standin/standin.go":                {2, "the same"},
	"internal/tunnel/tunnel.go":                  {1, "a deadline that has passed whatever the clock says"},
}

// A step of the clock must not end tunnels or keep them open, nor any other wait. Times of
// time.Now have a monotonic reading, by which Sub, Since, Until and deadlines go, as long
// as nobody strips it or makes a time from the wall clock's numbers. Every package of the
// program is looked at.
func TestNoTimeoutIsMeasuredByTheWallClock(t *testing.T) {
	t.Parallel()
	// By how many arguments a method of time.Time, or a function of package time, has.
	strips := map[string][]int{
		"Round": {1}, "Truncate": {1}, "UTC": {0}, "Local": {0}, "In": {1}, "Unix": {0, 2}, "UnixMilli": {0, 1}, "UnixMicro": {0, 1}, "UnixNano": {0}, "Date": {0, 8},
	}
	found := map[string]int{}
	for _, s := range sources(t) {
		if dir := path.Dir(s.name); strings.HasPrefix(dir, "benchmarks") || strings.HasPrefix(dir, "docs") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && slices.Contains(strips[sel.Sel.Name], len(call.Args)) {
				found[s.name]++
			}
			return true
		})
	}
	for name, n := range found {
		if n != wallClock[name].calls {
			t.Errorf("%s has %d calls that strip the monotonic reading of a time, wallClock %d", name, n, wallClock[name].calls)
		}
	}
	for name, row := range wallClock {
		if found[name] == 0 || row.why == "" {
			t.Errorf("%s has no such call, or no reason; take it off wallClock", name)
		}
	}
}
