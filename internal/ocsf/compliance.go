package ocsf

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/printable"
)

// Severity is severity_id of the schema. The zero Severity is "Unknown".
type Severity int

// The severities.
const (
	Informational = Severity(informational)
	Low           = Severity(low)
	Medium        = Severity(medium)
	High          = Severity(high)
)

// Result is compliance.status_id: what a check found. The zero Result is "Unknown", which is
// no pass.
type Result int

// The results.
const (
	Passed   Result = iota + 1
	NoResult        // the check gave no result
	Failed
)

// Values of the class Compliance Finding, and the captions that belong to its numbers.
const (
	classCompliance = 2003
	findingCreated  = 1
	findingNew      = 1
	suppressed      = 3
)

var results = [...]string{"Unknown", "Pass", "Warning", "Fail"}

// Compliance is a Compliance Finding, class 2003: what a check says of resources. UID, Title
// and Standards have to be there.
type Compliance struct {
	Time             time.Time // when it was found
	Product, Version string    // the program that found it; Version "": not told
	UID              string    // names the finding, the same from one run to the next
	Title, Desc      string    // Desc "": none
	Types            []string
	Message          string
	Severity         Severity
	Result           Result
	Suppressed       string   // who has accepted it, and why; "": nobody
	Standards        []string // what the check is of
	Control          string
	Remediation      string   // "": none is known
	Owner, Region    string   // account of AWS; Owner "": the finding is of no cloud
	Resources        []string // names of what it is about
	Unmapped         any      // what the schema has no place for; nil: nothing
}

// complianceEvent is a Compliance as the schema has it.
type complianceEvent struct {
	classification
	Time        int64              `json:"time"` // milliseconds since 1970
	SeverityID  Severity           `json:"severity_id"`
	Severity    string             `json:"severity"`
	StatusID    int                `json:"status_id"`
	Status      string             `json:"status"`
	Comment     string             `json:"comment,omitempty"`
	Message     string             `json:"message"`
	Metadata    complianceMetadata `json:"metadata"`
	Cloud       *cloud             `json:"cloud,omitempty"`
	Info        findingInfo        `json:"finding_info"`
	Compliance  complianceStatus   `json:"compliance"`
	Remediation *remediation       `json:"remediation,omitempty"`
	Resources   []resource         `json:"resources,omitempty"`
	Unmapped    any                `json:"unmapped,omitempty"`
}

type complianceMetadata struct {
	Version  string   `json:"version"`
	Product  product  `json:"product"`
	Profiles []string `json:"profiles,omitempty"`
}

// cloud is of the profile cloud.
type cloud struct {
	Provider string     `json:"provider"`
	Owner    cloudOwner `json:"account"`
	Region   string     `json:"region,omitempty"`
}

type cloudOwner struct {
	UID string `json:"uid"`
}

type findingInfo struct {
	UID   string   `json:"uid"`
	Title string   `json:"title"`
	Desc  string   `json:"desc,omitempty"`
	Types []string `json:"types,omitempty"`
}

type complianceStatus struct {
	Standards []string `json:"standards"`
	Control   string   `json:"control,omitempty"`
	StatusID  Result   `json:"status_id"`
	Status    string   `json:"status"`
}

type remediation struct {
	Desc string `json:"desc"`
}

// resource is resource_details; region is of the profile cloud.
type resource struct {
	UID    string `json:"uid"`
	Region string `json:"region,omitempty"`
}

// Line returns the event as one line of JSON with its newline. What would act on a terminal
// is escaped. The only error is that of encoding Unmapped.
func (c *Compliance) Line() ([]byte, error) {
	line, err := json.Marshal(c.event())
	if err != nil {
		return nil, fmt.Errorf("encoding the event of %s: %w", c.UID, err)
	}
	return append(printable.AppendJSON(nil, line), '\n'), nil
}

// event makes the event.
func (c *Compliance) event() *complianceEvent {
	e := &complianceEvent{
		classification: classification{
			ActivityID: findingCreated, ActivityName: "Create", CategoryUID: 2, CategoryName: "Findings", ClassUID: classCompliance, ClassName: "Compliance Finding",
		},
		Time: c.Time.UnixMilli(), Message: c.Message,
		SeverityID: c.Severity, Severity: "Unknown", StatusID: findingNew, Status: "New", Comment: c.Suppressed,
		Metadata:   complianceMetadata{Version: Version, Product: product{Name: c.Product, VendorName: vendor, Version: c.Version}},
		Info:       findingInfo{c.UID, c.Title, c.Desc, c.Types},
		Compliance: complianceStatus{c.Standards, c.Control, c.Result, results[c.Result]},
		Unmapped:   c.Unmapped,
	}
	e.setType()
	if c.Severity != 0 {
		e.Severity = severities[c.Severity]
	}
	if c.Suppressed != "" {
		e.StatusID, e.Status = suppressed, "Suppressed"
	}
	if c.Remediation != "" {
		e.Remediation = &remediation{c.Remediation}
	}
	region := ""
	if c.Owner != "" {
		e.Cloud, e.Metadata.Profiles, region = &cloud{"AWS", cloudOwner{c.Owner}, c.Region}, []string{"cloud"}, c.Region
	}
	for _, uid := range c.Resources {
		e.Resources = append(e.Resources, resource{uid, region})
	}
	return e
}
