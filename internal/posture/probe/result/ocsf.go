package result

import (
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/ocsf"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/probe"
)

// unmapped is what the schema has no place for.
type unmapped struct {
	Verdict probe.Verdict   `json:"verdict"`
	Tries   []probe.Finding `json:"tries"`
	Untried []probe.Way     `json:"not_tried,omitempty"`
}

// convert makes the event of a report: one for a probe. Its UID is that of the deployment's
// fence, from one probe to the next, and its types are the ways that are open.
func convert(r *probe.Report, about *About) *ocsf.Compliance {
	e := &ocsf.Compliance{
		Time: r.Made, Product: "posture probe", Version: about.Version, Message: r.Headline,
		UID: strings.TrimSuffix("fence/"+about.Deployment, "/"), Title: "The fence round the functions",
		// SC-7 of NIST SP 800-53 is about what crosses the boundary.
		Standards: []string{"NIST SP 800-53 Rev. 5 SC-7"}, Control: "SC-7",
		Unmapped: unmapped{r.Verdict, r.Findings, r.Untried},
	}
	var cures []string
	for i := range r.Findings {
		if f := &r.Findings[i]; f.Class == probe.Open && !slices.Contains(e.Types, string(f.Way)) {
			e.Types, cures = append(e.Types, string(f.Way)), append(cures, string(f.Way)+": "+f.Cure)
		}
	}
	e.Remediation = strings.Join(cures, "; ")
	if about.Deployment != "" {
		e.Resources = []string{about.Deployment}
	}
	switch r.Verdict {
	case probe.Sound:
		e.Severity, e.Result = ocsf.Informational, ocsf.Passed
	case probe.Hole:
		e.Severity, e.Result = ocsf.High, ocsf.Failed
	default: // no result either way
		e.Severity, e.Result = ocsf.Medium, ocsf.NoResult
	}
	return e
}
