package ocsf

import (
	"net/http"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
)

// Values of severity_id.
const (
	informational = 1
	low           = 2
	medium        = 3
	high          = 4
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
	blocked       = 2
	detected      = 15 // a violation that report mode let through
	accessRevoked = 24
	rejected      = 25 // the request itself is wrong, or there is no room for it
	unauthorized  = 26
	failure       = 27 // it was allowed, and could not be done
)

// dispositions are the captions of disposition_id.
var dispositions = map[int]string{
	allowed: "Allowed", blocked: "Blocked", detected: "Detected", accessRevoked: "Access Revoked",
	rejected: "Rejected", unauthorized: "Unauthorized", failure: "Error",
}

// unknownCode is the code of a response whose status no record has: what an
// origin answered to a plain request, or a reason that this version does not
// know.
const unknownCode = 0

// outcome is what a reason of refusal means.
type outcome struct {
	code        int // status that the client got
	disposition int
	severity    int
	rcode       int // of the DNS filter, 0: settings decide, and no record has them
}

// outcomes has every reason of refusal. The code of bad_request is that of
// most malformed requests: the record does not tell it from 417, 431, 501 and
// 505. The reasons of the ClientHello come after the 200.
var outcomes = map[string]outcome{
	"bad_request":          {http.StatusBadRequest, rejected, low, 0},
	"bad_target":           {http.StatusBadRequest, rejected, low, 0},
	"loop":                 {http.StatusBadGateway, rejected, low, 0},
	"method_not_allowed":   {http.StatusMethodNotAllowed, rejected, low, 0},
	"scheme_not_supported": {http.StatusNotImplemented, rejected, low, 0},
	"https_not_tunneled":   {http.StatusNotImplemented, rejected, low, 0},
	"identity_required":    {http.StatusProxyAuthRequired, unauthorized, informational, 0},
	"identity_rejected":    {http.StatusProxyAuthRequired, unauthorized, medium, 0},
	"limit_failures":       {http.StatusTooManyRequests, unauthorized, medium, 0},
	"limit_total":          {http.StatusServiceUnavailable, rejected, low, servError},
	"limit_function":       {http.StatusServiceUnavailable, rejected, low, 0},
	"limit_names":          {unknownCode, blocked, medium, 0}, // of lookups alone
	"draining":             {http.StatusServiceUnavailable, rejected, informational, servError},
	"host_denied":          {http.StatusForbidden, blocked, medium, 0},
	"host_not_allowed":     {http.StatusForbidden, blocked, medium, 0},
	"port_not_allowed":     {http.StatusForbidden, blocked, medium, 0},
	"rule_expired":         {http.StatusForbidden, blocked, low, 0},
	"type_not_allowed":     {unknownCode, blocked, low, 0}, // of lookups alone
	"dns_failed":           {http.StatusBadGateway, failure, low, servError},
	"dns_timeout":          {http.StatusGatewayTimeout, failure, low, servError},
	"address_not_allowed":  {http.StatusForbidden, blocked, medium, 0},
	"audit_unavailable":    {http.StatusServiceUnavailable, failure, high, servError},
	"dial_failed":          {http.StatusBadGateway, failure, low, 0},
	"dial_timeout":         {http.StatusGatewayTimeout, failure, low, 0},
	"origin_failed":        {http.StatusBadGateway, failure, low, 0},
	"sni_mismatch":         {http.StatusOK, blocked, medium, 0},
	"sni_missing":          {http.StatusOK, blocked, medium, 0},
	"not_tls":              {http.StatusOK, blocked, medium, 0},
	"hello_timeout":        {http.StatusOK, blocked, low, 0},
}

// outcomeOf returns what became of a request.
func outcomeOf(r *evidence.Record) outcome {
	if r.Event == "refused" || r.Event == "challenged" || r.Verdict != "allow" && r.Verdict != "report" {
		if o, known := outcomes[r.Reason]; known {
			return o
		}
		return outcome{code: unknownCode, disposition: blocked, severity: low}
	}
	o := outcome{code: unknownCode, disposition: allowed, severity: informational}
	if r.Protocol == "connect" {
		o.code = http.StatusOK
	}
	if r.Verdict == "report" {
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
