package output

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/ocsf"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/printable"
)

// event is a Compliance Finding, class 2003 of OCSF. Attributes of the schema that a
// finding says nothing about are left out.
type event struct {
	ActivityID   int         `json:"activity_id"`
	ActivityName string      `json:"activity_name"`
	CategoryUID  int         `json:"category_uid"`
	CategoryName string      `json:"category_name"`
	ClassUID     int         `json:"class_uid"`
	ClassName    string      `json:"class_name"`
	TypeUID      int         `json:"type_uid"`
	TypeName     string      `json:"type_name"`
	Time         int64       `json:"time"` // milliseconds since 1970: when the account was read
	SeverityID   int         `json:"severity_id"`
	Severity     string      `json:"severity"`
	StatusID     int         `json:"status_id"`
	Status       string      `json:"status"`
	Comment      string      `json:"comment,omitempty"` // who accepted it
	Message      string      `json:"message"`
	Metadata     metadata    `json:"metadata"`
	Cloud        cloud       `json:"cloud"`
	Info         info        `json:"finding_info"`
	Compliance   compliance  `json:"compliance"`
	Remediation  remediation `json:"remediation"`
	Resources    []resource  `json:"resources"`
	Unmapped     unmapped    `json:"unmapped"`
}

type metadata struct {
	Version  string   `json:"version"`
	Product  product  `json:"product"`
	Profiles []string `json:"profiles"`
}

type product struct {
	Name       string `json:"name"`
	VendorName string `json:"vendor_name"`
	Version    string `json:"version,omitempty"`
}

type cloud struct {
	Provider string `json:"provider"`
	Owner    owner  `json:"account"`
	Region   string `json:"region,omitempty"`
}

type owner struct {
	UID string `json:"uid"`
}

// info names the finding. Its UID stays the same from one run to the next.
type info struct {
	UID   string   `json:"uid"`
	Title string   `json:"title"`
	Desc  string   `json:"desc"`
	Types []string `json:"types"`
}

type compliance struct {
	Standards []string `json:"standards"`
	Control   string   `json:"control"`
	StatusID  int      `json:"status_id"`
	Status    string   `json:"status"`
}

type remediation struct {
	Desc string `json:"desc"`
}

type resource struct {
	UID    string `json:"uid"`
	Region string `json:"region,omitempty"`
}

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
		line, err := json.Marshal(convert(&r.Findings[i], made.UnixMilli(), r.Version))
		if err != nil {
			return fmt.Errorf("encoding a finding: %w", err)
		}
		if _, err := w.Write(append(printable.AppendJSON(nil, line), '\n')); err != nil {
			return fmt.Errorf("writing events: %w", err)
		}
	}
	return nil
}

// convert makes the event of a finding.
func convert(f *finding.Finding, millis int64, version string) *event {
	hash := sha256.Sum256([]byte(f.Key()))
	e := &event{
		ActivityID: 1, ActivityName: "Create", CategoryUID: 2, CategoryName: "Findings", ClassUID: 2003, ClassName: "Compliance Finding",
		TypeUID: 200301, TypeName: "Compliance Finding: Create", Time: millis, Message: f.Title + ": " + f.Resource,
		StatusID: 1, Status: "New", Comment: f.Accepted,
		Metadata:    metadata{Version: ocsf.Version, Product: product{Name: "posture", VendorName: "lambda-egress-proxy", Version: version}, Profiles: []string{"cloud"}},
		Cloud:       cloud{Provider: "AWS", Owner: owner{f.Owner}, Region: f.Region},
		Info:        info{UID: hex.EncodeToString(hash[:16]), Title: f.Title, Desc: f.Evidence, Types: []string{f.ID}},
		Compliance:  compliance{Standards: standards, Control: f.ID, StatusID: 3, Status: "Fail"},
		Remediation: remediation{f.Cure},
		Resources:   []resource{{UID: f.Resource, Region: f.Region}},
		Unmapped:    unmapped{f.Consequence, f.Functions},
	}
	e.SeverityID, e.Severity = severity(f.Severity)
	switch {
	case f.Accepted != "":
		e.StatusID, e.Status = 3, "Suppressed"
	case f.Severity == finding.Info:
		e.Compliance.StatusID, e.Compliance.Status = 1, "Pass"
	}
	if f.ID == finding.Unread && f.Severity == finding.High { // the check gave no result
		e.Compliance.StatusID, e.Compliance.Status = 2, "Warning"
	}
	return e
}

// severity returns that of the schema.
func severity(s finding.Severity) (id int, caption string) {
	switch s {
	case finding.Medium:
		return 3, "Medium"
	case finding.Low:
		return 2, "Low"
	case finding.Info:
		return 1, "Informational"
	default:
		return 4, "High"
	}
}
