package envelope_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence/envelope"
)

func TestLineComesOutOfEveryEnvelopeAsItWasWritten(t *testing.T) {
	const line = `{"time":"2026-11-22T04:00:00Z","event":"refused","host":"a\"b"}`
	for _, c := range []struct {
		what, in string
		shuffled bool
	}{
		{"none", line + "\n", false},
		{"none, without a newline", line, false},
		{"an export to S3", "2026-11-22T04:00:01.000Z " + line + "\n", true},
		{"aws logs tail", "2026-11-22T04:00:01+00:00 some/stream " + line + "\n", true},
		{"a log router", fmt.Sprintf(`{"container":"c","log":%q}`, line+"\n"), false},
		{"a subscription", fmt.Sprintf(`{"messageType":"DATA_MESSAGE","logEvents":[{"id":"1","message":%q}]}`, line), true},
		{"filter-log-events", fmt.Sprintf(`{"events":[{"message":%q}],"searchedLogStreams":[]}`, line), true},
		{"a log router in a subscription", fmt.Sprintf(`{"logEvents":[{"message":%q}]}`, fmt.Sprintf(`{"log":%q}`, line)), true},
	} {
		var got []string
		shuffled := !c.shuffled
		err := envelope.Read([]string{"-"}, strings.NewReader(c.in), func(l envelope.Line) error {
			got, shuffled = append(got, string(l.Raw)), l.Shuffled
			return nil
		})
		if err != nil || len(got) != 1 || got[0] != line || shuffled != c.shuffled {
			t.Errorf("%s: %q, shuffled %v, %v", c.what, got, shuffled, err)
		}
	}
}
