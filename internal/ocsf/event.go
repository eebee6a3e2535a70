package ocsf

// classification says what an event is of; every class has these attributes.
type classification struct {
	ActivityID   int    `json:"activity_id"`
	ActivityName string `json:"activity_name"`
	CategoryUID  int    `json:"category_uid"`
	CategoryName string `json:"category_name"`
	ClassUID     int    `json:"class_uid"`
	ClassName    string `json:"class_name"`
	TypeUID      int    `json:"type_uid"`
	TypeName     string `json:"type_name"`
}

// setType sets the type, which follows from the class and the activity.
func (c *classification) setType() {
	c.TypeUID = c.ClassUID*100 + c.ActivityID
	c.TypeName = c.ClassName + ": " + c.ActivityName
}

// event is an event of either class. Attributes that a record says nothing
// about are left out, except where the schema demands them.
type event struct {
	classification

	Time      int64  `json:"time"`                 // milliseconds since 1970
	StartTime int64  `json:"start_time,omitempty"` // of what has ended
	EndTime   int64  `json:"end_time,omitempty"`
	Duration  *int64 `json:"duration,omitempty"` // milliseconds
	Count     uint64 `json:"count"`              // requests that the event stands for

	SeverityID   int    `json:"severity_id"`
	Severity     string `json:"severity"`
	StatusID     int    `json:"status_id"`
	Status       string `json:"status"`
	StatusCode   string `json:"status_code,omitempty"` // the reason
	StatusDetail string `json:"status_detail,omitempty"`
	Message      string `json:"message"`

	// The profile security_control.

	ActionID      int           `json:"action_id"`
	Action        string        `json:"action"`
	DispositionID int           `json:"disposition_id"`
	Disposition   string        `json:"disposition"`
	Policy        *policy       `json:"policy,omitempty"`
	FirewallRule  *firewallRule `json:"firewall_rule,omitempty"`

	Metadata    metadata    `json:"metadata"`
	AppName     string      `json:"app_name,omitempty"` // the function
	SrcEndpoint endpoint    `json:"src_endpoint"`
	DstEndpoint endpoint    `json:"dst_endpoint"`
	RawDataHash fingerprint `json:"raw_data_hash"`

	// HTTP Activity.

	ProxyEndpoint *endpoint     `json:"proxy_endpoint,omitempty"` // the profile network_proxy
	HTTPRequest   *httpRequest  `json:"http_request,omitempty"`
	HTTPResponse  *httpResponse `json:"http_response,omitempty"`
	Connection    *connection   `json:"connection_info,omitempty"`
	Traffic       *traffic      `json:"traffic,omitempty"`

	// DNS Activity.

	Query   *dnsQuery   `json:"query,omitempty"`
	Answers []dnsAnswer `json:"answers,omitempty"`
	RcodeID *int        `json:"rcode_id,omitempty"` // nil: no record has it
	Rcode   string      `json:"rcode,omitempty"`

	Unmapped unmapped `json:"unmapped"`
}

type metadata struct {
	Version        string   `json:"version"`
	Profiles       []string `json:"profiles"`
	Product        product  `json:"product"`
	UID            string   `json:"uid"`      // boot and seq: names one record among all
	Sequence       uint64   `json:"sequence"` // within the process
	EventCode      string   `json:"event_code"`
	LogName        string   `json:"log_name"`
	LogProvider    string   `json:"log_provider"`
	OriginalTime   string   `json:"original_time"`             // RFC 3339, ns
	CorrelationUID string   `json:"correlation_uid,omitempty"` // the request: opened and closed have the same
}

type product struct {
	Name       string `json:"name"`
	VendorName string `json:"vendor_name"`
	Version    string `json:"version,omitempty"`
}

// endpoint is a network_endpoint. One of IP, Hostname, Name and SvcName has to
// be there.
type endpoint struct {
	IP       string `json:"ip,omitempty"`
	Port     uint16 `json:"port,omitempty"`
	Hostname string `json:"hostname,omitempty"`
	Name     string `json:"name,omitempty"`
	SvcName  string `json:"svc_name,omitempty"` // the function
	Owner    *user  `json:"owner,omitempty"`
}

type user struct {
	Name string `json:"name"`
}

type policy struct {
	Name string `json:"name"`
	UID  string `json:"uid"` // hash of the file
}

type firewallRule struct {
	Name string `json:"name"`           // path in the file
	Desc string `json:"desc,omitempty"` // the ticket
}

type fingerprint struct {
	AlgorithmID int    `json:"algorithm_id"`
	Algorithm   string `json:"algorithm"`
	Value       string `json:"value"`
}

type httpRequest struct {
	UID        string `json:"uid,omitempty"`
	HTTPMethod string `json:"http_method,omitempty"` // one that the schema knows
	URL        *url   `json:"url,omitempty"`         // nil: the target did not parse
}

// url has no path: no record has one.
type url struct {
	URLString string `json:"url_string"`
	Scheme    string `json:"scheme,omitempty"`
	Hostname  string `json:"hostname"`
	Port      uint16 `json:"port,omitempty"`
}

type httpResponse struct {
	Code    int    `json:"code"`
	Status  string `json:"status"`
	Message string `json:"message,omitempty"` // the reason
}

type connection struct {
	UID          string `json:"uid,omitempty"`
	DirectionID  int    `json:"direction_id"`
	Direction    string `json:"direction"`
	ProtocolName string `json:"protocol_name"`
	ProtocolNum  int    `json:"protocol_num"`
}

// traffic is seen from the source: out is what it sent.
type traffic struct {
	Bytes    int64 `json:"bytes"`
	BytesIn  int64 `json:"bytes_in"`
	BytesOut int64 `json:"bytes_out"`
}

type dnsQuery struct {
	Hostname string `json:"hostname"`
	Type     string `json:"type,omitempty"`
}

type dnsAnswer struct {
	RData string `json:"rdata"`
	Type  string `json:"type"`
}

// unmapped are the keys of the record that have no attribute of their own.
type unmapped struct {
	Process    string   `json:"boot"`
	Seq        uint64   `json:"seq"`
	Prev       string   `json:"prev"`
	Event      string   `json:"event"`
	Protocol   string   `json:"protocol,omitempty"`
	Verdict    string   `json:"verdict"`
	Policy     string   `json:"policy,omitempty"`
	Rule       string   `json:"rule,omitempty"`
	Line       int      `json:"line,omitempty"`
	Ticket     string   `json:"ticket,omitempty"`
	Via        string   `json:"via,omitempty"`
	Method     string   `json:"method,omitempty"` // one that the schema does not know
	Addresses  []string `json:"addresses,omitempty"`
	SNI        *string  `json:"sni,omitempty"` // nil: no server name was seen
	Suppressed uint64   `json:"suppressed,omitempty"`
}
