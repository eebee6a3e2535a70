package output

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/ocsf"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
)

// unmapped is what the schema has no place for.
type unmapped struct {
	Consequence string   `json:"consequence"`
	Functions   []string `json:"functions,omitempty"`
}

// standards are what the checks are of (SC-7 of NIST SP 800-53 is about what crosses the
// boundary).
var standards = []string{"NIST SP 800-53 Rev. 5 SC-7"}

// writeOCSF writes one event for each finding, a line each.
func writeOCSF(w *bufio.Writer, r *Report) error {
	made, err := time.Parse(time.RFC3339, r.Made)
	if err != nil {
		return fmt.Errorf("the time of the snapshot: %w", err)
	}
	for i := range r.Findings {
		line, err := convert(&r.Findings[i], made, r.Version).Line()
		if err != nil {
			return err
		}
		if _, err := w.Write(line); err != nil {
			return fmt.Errorf("writing events: %w", err)
		}
	}
	return nil
}

// convert makes the event of a finding.
func convert(f *finding.Finding, made time.Time, version string) *ocsf.Compliance {
	hash := sha256.Sum256([]byte(f.Key()))
	e := &ocsf.Compliance{
		Time: made, Product: "posture", Version: version, Message: f.Title + ": " + f.Resource,
		UID: hex.EncodeToString(hash[:16]), Title: f.Title, Desc: f.Evidence, Types: []string{f.ID},
		Severity: severity(f.Severity), Result: ocsf.Failed, Suppressed: f.Accepted, Standards: standards, Control: f.ID,
		Remediation: f.Cure, Owner: f.Owner, Region: f.Region, Resources: []string{f.Resource},
		Unmapped: unmapped{f.Consequence, f.Functions},
	}
	switch {
	case f.ID == finding.Unread && f.Severity == finding.High: // the check gave no result
		e.Result = ocsf.NoResult
	case f.Accepted == "" && f.Severity == finding.Info:
		e.Result = ocsf.Passed
	}
	return e
}

// severity returns that of the schema.
func severity(s finding.Severity) ocsf.Severity {
	switch s {
	case finding.Medium:
		return ocsf.Medium
	case finding.Low:
		return ocsf.Low
	case finding.Info:
		return ocsf.Informational
	default:
		return ocsf.High
	}
}
