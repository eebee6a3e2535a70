package ocsf

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// The classes, in the category Network Activity.
const (
	categoryNetwork = 4
	classHTTP       = 4002
	classDNS        = 4003
)

// Values of activity_id, beside those of methods.
const (
	activityUnknown  = 0
	activityQuery    = 1
	activityResponse = 2
	activityOther    = 99
)

// methods are the activities of HTTP Activity. The schema knows no other
// method, in activity_id or in http_method.
var methods = map[string]struct {
	activity int
	caption  string
}{
	"CONNECT": {1, "Connect"}, "DELETE": {2, "Delete"}, "GET": {3, "Get"}, "HEAD": {4, "Head"}, "OPTIONS": {5, "Options"},
	"POST": {6, "Post"}, "PUT": {7, "Put"}, "TRACE": {8, "Trace"}, "PATCH": {9, "Patch"},
}

// Values of rcode_id.
const (
	noError   = 0
	servError = 2
)

// rcodes are the captions of rcode_id.
var rcodes = [...]string{noError: "NoError", servError: "ServError"}

// proxyName is what the proxy calls itself, in Via too.
const proxyName = "egress"

// vendor is who makes the programs whose events these are.
const vendor = "lambda-egress-proxy"

// unknownName is the name of an endpoint that the record cannot name.
const unknownName = "unknown"

// convert returns the event of a record, nil where it is about no request.
func convert(raw []byte, r *evidence.Record) *event {
	switch r.Event {
	case "challenged", "refused", "opened", "closed", "answered":
	default:
		return nil
	}
	o := outcomeOf(r)
	e := &event{
		classification: classification{CategoryUID: categoryNetwork, CategoryName: "Network Activity"},
		Time:           timestamp(r.Time), Count: r.Count(),
		AppName: r.Function, SrcEndpoint: source(r),
		RawDataHash: hashOf(raw), Message: message(r), Unmapped: rest(r),
	}
	if r.Event == "closed" {
		spent := r.Duration.Milliseconds()
		e.StartTime, e.EndTime, e.Duration = max(0, e.Time-spent), e.Time, &spent
	}
	e.judge(r, o)
	profiles := []string{"security_control"}
	if r.Protocol == "dns" {
		e.dns(r, o)
	} else {
		profiles = []string{"network_proxy", "security_control"}
		e.http(r, o)
	}
	e.setType()
	e.Metadata = about(r, profiles)
	if r.Policy != "" {
		e.Policy = &policy{Name: "egress policy", UID: r.Policy}
	}
	if r.Rule != "" {
		e.FirewallRule = &firewallRule{Name: r.Rule, Desc: r.Ticket}
	}
	return e
}

// about returns where the event comes from.
func about(r *evidence.Record, profiles []string) metadata {
	return metadata{
		Version: Version, Profiles: profiles,
		Product: product{Name: "Lambda egress proxy", VendorName: vendor, Version: r.Version},
		UID:     r.Process + ":" + strconv.FormatUint(r.Seq, 10), Sequence: r.Seq,
		EventCode: r.Event, LogName: "records", LogProvider: proxyName,
		OriginalTime: r.Time.UTC().Format(time.RFC3339Nano), CorrelationUID: r.ID,
	}
}

// timestamp returns a time in milliseconds since 1970, as timestamp_t is. It is 0
// for a time before that, or for none: a record that somebody else wrote can have
// either.
func timestamp(t time.Time) int64 { return max(0, t.UnixMilli()) }

// hashOf returns the hash by which the next record of the chain names this one.
func hashOf(raw []byte) fingerprint {
	sum := sha256.Sum256(raw)
	return fingerprint{AlgorithmID: 3, Algorithm: "SHA-256", Value: hex.EncodeToString(sum[:])}
}

// message says in one line what happened.
func message(r *evidence.Record) string {
	what := cmp.Or(r.Method, r.Type, r.Protocol, "request")
	text := r.Event + " " + what + " " + cmp.Or(r.Host, unknownName)
	if r.Port != 0 {
		text += ":" + strconv.Itoa(int(r.Port))
	}
	if r.Function != "" {
		text += " for " + r.Function
	}
	if r.Reason != "" {
		text += ": " + r.Reason
	}
	return text
}

// source returns the client, as far as the record has it.
func source(r *evidence.Record) endpoint {
	e := endpoint{SvcName: r.Function, Port: r.Client.Port()}
	if r.Client.Addr().IsValid() {
		e.IP = r.Client.Addr().String()
	} else if r.Function == "" {
		e.Name = unknownName
	}
	if r.Owner != "" {
		e.Owner = &user{Name: r.Owner}
	}
	return e
}

// destination returns the origin: its name, and the address that was dialed.
func destination(r *evidence.Record) endpoint {
	e := endpoint{Port: r.Port}
	if r.Dialed.IsValid() {
		e.IP = r.Dialed.Addr().String()
	}
	if a, err := netip.ParseAddr(r.Host); err == nil {
		e.IP = a.String()
	} else {
		e.Hostname = r.Host
	}
	if e.IP == "" && e.Hostname == "" {
		e.Name = unknownName
	}
	return e
}

// http fills in what HTTP Activity has.
func (e *event) http(r *evidence.Record, o outcome) {
	e.ClassUID, e.ClassName = classHTTP, "HTTP Activity"
	e.DstEndpoint = destination(r)
	e.ProxyEndpoint = &endpoint{Name: proxyName}
	e.HTTPRequest = &httpRequest{UID: r.ID}
	e.HTTPResponse = &httpResponse{Code: o.code, Status: cmp.Or(http.StatusText(o.code), "Unknown"), Message: r.Reason}
	if m, known := methods[r.Method]; known {
		e.ActivityID, e.ActivityName = m.activity, m.caption
		e.HTTPRequest.HTTPMethod = r.Method
	} else if r.Method != "" {
		e.ActivityID, e.ActivityName = activityOther, "Other"
		e.Unmapped.Method = r.Method
	} else {
		e.ActivityID, e.ActivityName = activityUnknown, "Unknown"
	}
	if r.Host != "" {
		e.HTTPRequest.URL = urlOf(r)
	}
	e.Connection = &connection{UID: r.ID, DirectionID: 2, Direction: "Outbound", ProtocolName: "tcp", ProtocolNum: 6}
	if a := r.Dialed.Addr(); a.IsPrivate() || a.IsLoopback() {
		e.Connection.DirectionID, e.Connection.Direction = 3, "Lateral"
	}
	if r.Event == "closed" {
		e.Traffic = &traffic{Bytes: r.BytesUp + r.BytesDown, BytesIn: r.BytesDown, BytesOut: r.BytesUp}
	}
}

// urlOf returns the target: of a tunnel host and port, which have no scheme.
func urlOf(r *evidence.Record) *url {
	u := &url{Hostname: r.Host, Port: r.Port, URLString: r.Host}
	if a, err := netip.ParseAddr(r.Host); err == nil && a.Is6() {
		u.URLString = "[" + r.Host + "]"
	}
	if r.Port != 0 {
		u.URLString += ":" + strconv.Itoa(int(r.Port))
	}
	if r.Protocol == "http" && r.Reason != verdict.ReasonHTTPSNotTunneled.String() {
		u.Scheme, u.URLString = "http", "http://"+u.URLString+"/"
	}
	return u
}

// dns fills in what DNS Activity has. A question that is refused is a query
// that was stopped; what the filter answered instead depends on its settings.
func (e *event) dns(r *evidence.Record, o outcome) {
	e.ClassUID, e.ClassName = classDNS, "DNS Activity"
	e.ActivityID, e.ActivityName = activityQuery, "Query"
	e.DstEndpoint = endpoint{Name: proxyName}
	if r.Host != "" {
		e.Query = &dnsQuery{Hostname: r.Host, Type: r.Type}
	}
	code := o.rcode
	if e.ActionID == yes {
		e.ActivityID, e.ActivityName = activityResponse, "Response"
		for _, a := range r.Addresses {
			e.Answers = append(e.Answers, answer(a))
		}
		e.Unmapped.Addresses = nil
	}
	if code != 0 || len(e.Answers) > 0 {
		e.RcodeID, e.Rcode = &code, rcodes[code]
	}
}

// answer returns an address as the record of its type.
func answer(a netip.Addr) dnsAnswer {
	if a.Is4() {
		return dnsAnswer{RData: a.String(), Type: "A"}
	}
	return dnsAnswer{RData: a.String(), Type: "AAAA"}
}

// rest returns what the schema has no place for.
func rest(r *evidence.Record) unmapped {
	u := unmapped{
		Process: r.Process, Seq: r.Seq, Prev: r.Prev, Event: r.Event, Protocol: r.Protocol, Verdict: r.Verdict, Policy: r.Policy,
		Rule: r.Rule, Line: r.Line, Ticket: r.Ticket, Via: r.Via, SNI: r.SNI, Suppressed: r.Suppressed,
	}
	for _, a := range r.Addresses {
		u.Addresses = append(u.Addresses, a.String())
	}
	return u
}
