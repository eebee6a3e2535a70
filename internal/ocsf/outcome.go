package ocsf

import (
	"net/http"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// Values of severity_id.
const (
	informational = int(verdict.Informational)
	low           = int(verdict.Low)
	medium        = int(verdict.Medium)
	high          = int(verdict.High)
)

// severities are the captions of severity_id.
var severities = [...]string{informational: "Informational", low: "Low", medium: "Medium", high: "High"}

// Values of action_id and status_id: the schema numbers them alike.
const (
	yes = 1
	no  = 2
)

var (
	actions  = [...]string{yes: "Allowed", no: "Denied"}
	statuses = [...]string{yes: "Success", no: "Failure"}
)

// Values of disposition_id.
const (
	allowed       = 1
	blocked       = int(verdict.Blocked)
	detected      = 15 // a violation that report mode let through
	accessRevoked = 24
	rejected      = int(verdict.Rejected)
	unauthorized  = int(verdict.Unauthorized)
	failure       = int(verdict.Failed)
)

// dispositions are the captions of disposition_id.
var dispositions = map[int]string{
	allowed: "Allowed", blocked: "Blocked", detected: "Detected", accessRevoked: "Access Revoked",
	rejected: "Rejected", unauthorized: "Unauthorized", failure: "Error",
}

// The verdicts of records that let a request through.
var wordAllow, wordReport = verdict.Allow.String(), verdict.Report.String()

// unknownCode is the code of a response whose status no record has: what an
// origin answered to a plain request, or a reason that this version does not
// know.
const unknownCode = 0

// outcome is how a request ended for the client.
type outcome struct {
	code        int // status that the client got
	disposition int
	severity    int
	rcode       int // of the DNS filter, 0: settings decide, and no record has them
}

// refusalOutcome is the outcome of a refusal. The code of bad_request is that of
// most malformed requests: the record does not distinguish it from 417, 431, 501
// and 505.
func refusalOutcome(reason, protocol string) outcome {
	r, known := verdict.ParseReason(reason)
	if !known {
		return outcome{code: unknownCode, disposition: blocked, severity: low}
	}
	row := r.Row()
	o := outcome{disposition: int(row.Outcome.Disposition), severity: int(row.Outcome.Severity)}
	switch {
	case r.InTunnel() && protocol == "connect":
		o.code = http.StatusOK // it came before the ClientHello
	case row.Status == verdict.StatusLookup:
		o.code = unknownCode
	default:
		o.code = row.Status.Code()
	}
	if row.DNS.RCode == verdict.RCodeServFail {
		o.rcode = servError
	}
	return o
}

// outcomeOf returns the outcome of a request.
func outcomeOf(r *evidence.Record) outcome {
	if r.Event == "refused" || r.Event == "challenged" || r.Verdict != wordAllow && r.Verdict != wordReport {
		return refusalOutcome(r.Reason, r.Protocol)
	}
	o := outcome{code: unknownCode, disposition: allowed, severity: informational}
	if r.Protocol == "connect" {
		o.code = http.StatusOK
	}
	if r.Verdict == wordReport {
		o.disposition, o.severity = detected, low
	}
	if r.Ended == "revoked" {
		o.disposition, o.severity = accessRevoked, low
	}
	return o
}

// judge sets what the outcome says in the attributes of every class.
func (e *event) judge(r *evidence.Record, o outcome) {
	e.ActionID, e.StatusID = yes, yes
	denied := o.disposition != allowed && o.disposition != detected
	if denied {
		e.ActionID = no
	}
	if denied || r.Ended == "error" {
		e.StatusID = no
	}
	e.Action, e.Status = actions[e.ActionID], statuses[e.StatusID]
	e.DispositionID, e.Disposition = o.disposition, dispositions[o.disposition]
	e.SeverityID, e.Severity = o.severity, severities[o.severity]
	e.StatusCode = r.Reason
	if r.Ended != "" {
		e.StatusDetail = "ended: " + r.Ended
	}
}
