package result

import (
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/ocsf"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/probe"
)

// event is a Compliance Finding, class 2003 of OCSF: one for a probe. Attributes of the
// schema that a probe says nothing about are left out.
type event struct {
	ActivityID   int        `json:"activity_id"`
	ActivityName string     `json:"activity_name"`
	CategoryUID  int        `json:"category_uid"`
	CategoryName string     `json:"category_name"`
	ClassUID     int        `json:"class_uid"`
	ClassName    string     `json:"class_name"`
	TypeUID      int        `json:"type_uid"`
	TypeName     string     `json:"type_name"`
	Time         int64      `json:"time"` // milliseconds since 1970
	SeverityID   int        `json:"severity_id"`
	Severity     string     `json:"severity"`
	StatusID     int        `json:"status_id"`
	Status       string     `json:"status"`
	Message      string     `json:"message"`
	Metadata     metadata   `json:"metadata"`
	Info         info       `json:"finding_info"`
	Compliance   compliance `json:"compliance"`
	Resources    []resource `json:"resources,omitempty"`
	Unmapped     unmapped   `json:"unmapped"`
}

type metadata struct {
	Version string  `json:"version"`
	Product product `json:"product"`
}

type product struct {
	Name       string `json:"name"`
	VendorName string `json:"vendor_name"`
	Version    string `json:"version,omitempty"`
}

// info names the finding. Its UID is that of the deployment's fence, from one probe to the
// next.
type info struct {
	UID   string   `json:"uid"`
	Title string   `json:"title"`
	Types []string `json:"types"` // the ways that are open
}

type compliance struct {
	Standards []string `json:"standards"`
	Control   string   `json:"control"`
	StatusID  int      `json:"status_id"`
	Status    string   `json:"status"`
}

type resource struct {
	UID string `json:"uid"`
}

// unmapped is what the schema has no place for.
type unmapped struct {
	Verdict probe.Verdict   `json:"verdict"`
	Tries   []probe.Finding `json:"tries"`
	Untried []probe.Way     `json:"not_tried,omitempty"`
}

// convert makes the event of a report.
func convert(r *probe.Report, about *About) *event {
	e := &event{
		ActivityID: 1, ActivityName: "Create", CategoryUID: 2, CategoryName: "Findings", ClassUID: 2003, ClassName: "Compliance Finding",
		TypeUID: 200301, TypeName: "Compliance Finding: Create", Time: r.Made.UnixMilli(), Message: r.Headline,
		StatusID: 1, Status: "New", SeverityID: 1, Severity: "Informational",
		Metadata: metadata{Version: ocsf.Version, Product: product{Name: "posture probe", VendorName: "lambda-egress-proxy", Version: about.Version}},
		Info:     info{UID: strings.TrimSuffix("fence/"+about.Deployment, "/"), Title: "The fence round the functions", Types: []string{}},
		// SC-7 of NIST SP 800-53 is about what crosses the boundary.
		Compliance: compliance{Standards: []string{"NIST SP 800-53 Rev. 5 SC-7"}, Control: "SC-7", StatusID: 1, Status: "Pass"},
		Unmapped:   unmapped{r.Verdict, r.Findings, r.Untried},
	}
	for i := range r.Findings {
		if r.Findings[i].Class == probe.Open {
			e.Info.Types = append(e.Info.Types, string(r.Findings[i].Way))
		}
	}
	if about.Deployment != "" {
		e.Resources = []resource{{about.Deployment}}
	}
	switch r.Verdict {
	case probe.Sound:
	case probe.Hole:
		e.SeverityID, e.Severity, e.Compliance.StatusID, e.Compliance.Status = 4, "High", 3, "Fail"
	default: // no result either way
		e.SeverityID, e.Severity, e.Compliance.StatusID, e.Compliance.Status = 3, "Medium", 2, "Warning"
	}
	return e
}
