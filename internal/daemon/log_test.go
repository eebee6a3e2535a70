package daemon

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"
)

// A terminal acts on what does not print, and the log quotes files and peers.
func TestLogHasNoCharacterThatDoesNotPrint(t *testing.T) {
	t.Parallel()
	const hostile = "a\u202eb\u007fc\u009bd\u2028e\ufefff\x1b[2J"
	var out bytes.Buffer
	log, flush := newLogger(&out, prometheus.NewRegistry())
	log.Info("message "+hostile, "value "+hostile, hostile)
	flush()
	line := strings.TrimSuffix(out.String(), "\n")
	for i, r := range line {
		if !unicode.IsPrint(r) {
			t.Errorf("%U at %d of %q", r, i, line)
		}
	}
	var members map[string]string
	if err := json.Unmarshal([]byte(line), &members); err != nil || members["msg"] != "message "+hostile || members["value "+hostile] != hostile {
		t.Errorf("%v: read back as %q", err, members)
	}
}
