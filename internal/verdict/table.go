package verdict

// The DNS answers of the table.
var (
	malformed   = DNSAnswer{RCodeFormErr, EDEOther}
	unreachable = DNSAnswer{RCodeServFail, EDENoReachableAuthority}
	notReady    = DNSAnswer{RCodeServFail, EDENotReady}
	filtered    = DNSAnswer{RCodeRefuseWith, EDEFiltered}
	typeIsEmpty = DNSAnswer{RCodeRefuseType, EDEFiltered}
)

// unknown is the row of what the table does not have. It refuses.
var unknown = Row{
	Status: 403, ProxyStatus: HTTPRequestDenied, Alert: AlertInternalError, DNS: filtered, Outcome: Outcome{Blocked, Low}, Fault: FaultPolicy,
}

// table is all that is said of a reason, once.
var table = [reasonCount]Row{
	ReasonBadRequest: {
		Word: "bad_request", Status: 400, ProxyStatus: HTTPRequestError, Alert: AlertInternalError,
		DNS: malformed, Outcome: Outcome{Rejected, Low}, Fault: FaultCaller,
		Advice:  "The request is not well-formed HTTP/1.1.",
		Meaning: "The request is not HTTP/1.1 as RFC 9112 has it. More exact statuses: 431 for a head over the limit, or of more than 128 fields, 505 for another version, 501 for another transfer coding, 417 for another expectation.",
		Remedy:  "Fix the client.",
	},
	ReasonBadTarget: {
		Word: "bad_target", Status: 400, ProxyStatus: HTTPRequestError, Alert: AlertUnrecognizedName,
		DNS: filtered, Outcome: Outcome{Rejected, Low}, Fault: FaultCaller,
		Advice:  "The target must be a hostname or an address literal, and a port.",
		Meaning: "The target is not a host and port: a name that is not canonical, a short or octal address, user info, no port. Or the path has a byte that a URL does not have, and the body says so.",
		Remedy:  "Write the host as a plain name or address, with its port.",
	},
	ReasonLoop: {
		Word: "loop", Status: 502, ProxyStatus: ProxyLoopDetected, Alert: AlertInternalError,
		DNS: filtered, Outcome: Outcome{Rejected, Low}, Fault: FaultCaller,
		Advice:  "The request has already passed this proxy.",
		Meaning: "The request has passed this proxy before.",
		Remedy:  "Take the proxy out of the path behind the proxy.",
	},
	ReasonMethodNotAllowed: {
		Word: "method_not_allowed", Status: 405, ProxyStatus: HTTPRequestError, Alert: AlertInternalError,
		DNS: filtered, Outcome: Outcome{Rejected, Low}, Fault: FaultCaller,
		Advice:  "Use CONNECT, or one of the common methods with an http:// target.",
		Meaning: "Not CONNECT and not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS.",
		Remedy:  "Use CONNECT.",
	},
	ReasonSchemeNotSupported: {
		Word: "scheme_not_supported", Status: 501, ProxyStatus: HTTPRequestError, Alert: AlertInternalError,
		DNS: filtered, Outcome: Outcome{Rejected, Low}, Fault: FaultCaller,
		Advice:  "Only http:// targets are forwarded; use CONNECT for everything else.",
		Meaning: "A target such as `ftp://`.",
		Remedy:  "Use CONNECT.",
	},
	ReasonHTTPSNotTunneled: {
		Word: "https_not_tunneled", Status: 501, ProxyStatus: HTTPRequestError, Alert: AlertInternalError,
		DNS: filtered, Outcome: Outcome{Rejected, Low}, Fault: FaultCaller,
		Advice:  "The client sent an https:// URL in the clear instead of opening a tunnel with CONNECT. Update it (axios: 1.16 or later).",
		Meaning: "`GET https://…` in the clear instead of CONNECT; its path and fields are not recorded.",
		Remedy:  "Update the client (axios: 1.16 or later).",
	},
	ReasonIdentityRequired: {
		Word: "identity_required", Status: 407, ProxyStatus: HTTPRequestDenied, Alert: AlertAccessDenied,
		DNS: filtered, Outcome: Outcome{Unauthorized, Informational}, Fault: FaultCaller,
		Advice:  "Set the credential in HTTPS_PROXY.",
		Meaning: "No credential was shown, and the source names nobody. Recorded as `challenged`: Java and .NET always ask this way first.",
		Remedy:  "Set the credential in HTTPS_PROXY.",
	},
	ReasonKeysUnavailable: {
		Word: "keys_unavailable", Status: 503, ProxyStatus: ProxyInternalError, Alert: AlertInternalError,
		DNS: notReady, Outcome: Outcome{Failed, High}, Fault: FaultProxy,
		Advice:  "The proxy has no keys to verify the token of AWS by. Try again.",
		Meaning: "A token of AWS was shown, and the proxy has no keys of its issuer: none could be fetched yet, or the last good ones are older than a day.",
		Remedy:  "Look at the way to the issuer (`egress_identity_keys_age_seconds`, the log); or give the keys as a file, `aws.accounts.ID.keys`.",
	},
	ReasonIdentityRejected: {
		Word: "identity_rejected", Status: 407, ProxyStatus: HTTPRequestDenied, Alert: AlertAccessDenied,
		DNS: filtered, Outcome: Outcome{Unauthorized, Medium}, Fault: FaultCaller,
		Advice:  "The credential in HTTPS_PROXY does not hold. Ask the owner of the egress policy for a new one.",
		Meaning: "A credential was shown and does not hold, or not from there.",
		Remedy:  "Compare the token with the file, and the caller's address with `sources`.",
	},
	ReasonLimitFailures: {
		Word: "limit_failures", Status: 429, ProxyStatus: ConnectionLimitReached, Alert: AlertAccessDenied,
		DNS: notReady, Outcome: Outcome{Unauthorized, Medium}, Fault: FaultCaller,
		Advice:  "Too many credentials that do not hold came from this address. Correct HTTPS_PROXY, then wait a minute.",
		Meaning: "More than 50 credentials that do not hold came from this source within a minute.",
		Remedy:  "Correct the credential, wait a minute.",
	},
	ReasonLimitTotal: {
		Word: "limit_total", Status: 503, ProxyStatus: ConnectionLimitReached, Alert: AlertInternalError,
		DNS: notReady, Outcome: Outcome{Rejected, Low}, Fault: FaultProxy,
		Advice:  "The proxy is full: tunnels, dials or memory. Try again.",
		Meaning: "`limits.tunnels` is reached, or memory, descriptors or dials run short; `egress_shed_total` says which.",
		Remedy:  "Try again; run more tasks.",
	},
	ReasonLimitFunction: {
		Word: "limit_function", Status: 503, ProxyStatus: ConnectionLimitReached, Alert: AlertInternalError,
		DNS: notReady, Outcome: Outcome{Rejected, Low}, Fault: FaultCaller,
		Advice:  "The function has as many tunnels, lookups, or dials to this host, as it may have. Close idle connections, or ask for a higher limits.tunnels_per_function.",
		Meaning: "`limits.tunnels_per_function` is reached, or the function (by DNS also a source of no function) has too many dials or lookups under way, or its requests hold its share of the memory; `egress_over_share_total` says which.",
		Remedy:  "Close idle connections, or raise the limit.",
	},
	ReasonLimitNames: {
		Word: "limit_names", Status: 429, ProxyStatus: ConnectionLimitReached, Alert: AlertInternalError,
		DNS: notReady, Outcome: Outcome{Blocked, Medium}, Fault: FaultCaller,
		Advice:  "The function has had too many names below one wildcard looked up. Ask for names that you need, and try again in a minute.",
		Meaning: "The function (by DNS also a source of no function) has asked for too many names below one wildcard within a minute, by whatever front.",
		Remedy:  "Raise `dns.distinct_names_per_minute`, if that is meant.",
	},
	ReasonDraining: {
		Word: "draining", Status: 503, ProxyStatus: ProxyInternalResponse, Alert: AlertInternalError,
		DNS: notReady, Outcome: Outcome{Rejected, Informational}, Fault: FaultProxy,
		Advice:  "This proxy is stopping. Try again; another one answers.",
		Meaning: "The proxy is stopping, or its end has cut the lookup, the dial or the answer short.",
		Remedy:  "Try again; another task answers.",
	},
	ReasonHostDenied: {
		Word: "host_denied", Status: 403, ProxyStatus: HTTPRequestDenied, Alert: AlertUnrecognizedName,
		DNS: filtered, Outcome: Outcome{Blocked, Medium}, Fault: FaultPolicy,
		Advice:  "The host is on the deny list, which no function's list overrides.",
		Meaning: "The deny list has the host, or a name that the host is an alias of.",
		Remedy:  "Take it off the list, if it should not be there.",
	},
	ReasonHostNotAllowed: {
		Word: "host_not_allowed", Status: 403, ProxyStatus: HTTPRequestDenied, Alert: AlertUnrecognizedName,
		DNS: filtered, Outcome: Outcome{Blocked, Medium}, Fault: FaultPolicy,
		Advice:  "The host is not on the function's list. Ask the owner of the egress policy to allow it, naming function, host and port.",
		Meaning: "No rule of the function has the host.",
		Remedy:  "Add a rule.",
	},
	ReasonPortNotAllowed: {
		Word: "port_not_allowed", Status: 403, ProxyStatus: HTTPRequestDenied, Alert: AlertUnrecognizedName,
		DNS: filtered, Outcome: Outcome{Blocked, Medium}, Fault: FaultPolicy,
		Advice:  "The host is on the function's list, the port is not. Ask the owner of the egress policy to add it to the rule's ports.",
		Meaning: "A rule has the host, none has the port.",
		Remedy:  "Add the port to the rule.",
	},
	ReasonRuleExpired: {
		Word: "rule_expired", Status: 403, ProxyStatus: HTTPRequestDenied, Alert: AlertUnrecognizedName,
		DNS: filtered, Outcome: Outcome{Blocked, Low}, Fault: FaultPolicy,
		Advice:  "The rule for this host has expired. Ask the owner of the egress policy to renew it.",
		Meaning: "The rule that has host and port has expired.",
		Remedy:  "Renew it or remove it.",
	},
	ReasonTypeNotAllowed: {
		Word: "type_not_allowed", Status: StatusLookup, ProxyStatus: NotOverHTTP, Alert: AlertInternalError,
		DNS: typeIsEmpty, Outcome: Outcome{Blocked, Low}, Fault: FaultPolicy,
		Advice:  "This type of DNS question is not answered. Ask for addresses.",
		Meaning: "The question's type, class or opcode is not answered.",
		Remedy:  "Add the type to `dns.types`.",
	},
	ReasonDNSFailed: {
		Word: "dns_failed", Status: 502, ProxyStatus: DNSError, Alert: AlertInternalError,
		DNS: unreachable, Outcome: Outcome{Failed, Low}, Fault: FaultOutside,
		Advice:  "The host is allowed, but its name does not resolve.",
		Meaning: "The host is allowed and does not resolve.",
		Remedy:  "Look at the name, and at the resolver.",
	},
	ReasonDNSTimeout: {
		Word: "dns_timeout", Status: 504, ProxyStatus: DNSTimeout, Alert: AlertInternalError,
		DNS: unreachable, Outcome: Outcome{Failed, Low}, Fault: FaultOutside,
		Advice:  "The host is allowed, but no resolver answered in time.",
		Meaning: "No resolver answered in time.",
		Remedy:  "Look at the resolver and the way to it.",
	},
	ReasonAddressNotAllowed: {
		Word: "address_not_allowed", Status: 403, ProxyStatus: DestinationIPProhibited, Alert: AlertUnrecognizedName,
		DNS: typeIsEmpty, Outcome: Outcome{Blocked, Medium}, Fault: FaultPolicy,
		Advice:  "The host resolves to an address that its rule does not permit. If that is meant, the rule needs addresses.",
		Meaning: "The host resolves to an address that is not public and that its rule does not open.",
		Remedy:  "If that is meant, write `addresses` in the rule.",
	},
	ReasonAuditUnavailable: {
		Word: "audit_unavailable", Status: 503, ProxyStatus: ProxyInternalError, Alert: AlertInternalError,
		DNS: notReady, Outcome: Outcome{Failed, High}, Fault: FaultProxy,
		Advice:  "The proxy cannot write its records, and passes nothing that it cannot record.",
		Meaning: "The record could not be written.",
		Remedy:  "Look at the output of records: a full disk, a log driver that stands still.",
	},
	ReasonDialFailed: {
		Word: "dial_failed", Status: 502, ProxyStatus: DestinationUnavailable, Alert: AlertInternalError,
		DNS: filtered, Outcome: Outcome{Failed, Low}, Fault: FaultOutside,
		Advice:  "The host is allowed, but does not accept the connection.",
		Meaning: "No address of the host could be connected to.",
		Remedy:  "Look at the host, and at the proxy's way out.",
	},
	ReasonDialTimeout: {
		Word: "dial_timeout", Status: 504, ProxyStatus: ConnectionTimeout, Alert: AlertInternalError,
		DNS: filtered, Outcome: Outcome{Failed, Low}, Fault: FaultOutside,
		Advice:  "The host is allowed, but does not answer.",
		Meaning: "No address of the host answered in time.",
		Remedy:  "The same.",
	},
	ReasonOriginFailed: {
		Word: "origin_failed", Status: 502, ProxyStatus: HTTPProtocolError, Alert: AlertInternalError,
		DNS: filtered, Outcome: Outcome{Failed, Low}, Fault: FaultOutside,
		Advice:  "The host is allowed, but its answer is not usable HTTP.",
		Meaning: "The host's answer to a plain HTTP request is not usable: none, not HTTP/1.x as RFC 9112 has it, or of a length that readers disagree about.",
		Remedy:  "Look at the host.",
	},
	ReasonSNIMismatch: {
		Word: "sni_mismatch", Status: StatusClosed, ProxyStatus: NotOverHTTP, Alert: AlertUnrecognizedName,
		DNS: filtered, Outcome: Outcome{Blocked, Medium}, Fault: FaultCaller,
		Advice:  "Send the name that you connect to as the server name.",
		Meaning: "The ClientHello names another host than the CONNECT.",
		Remedy:  "Make the client send the name that it connects to.",
	},
	ReasonSNIMissing: {
		Word: "sni_missing", Status: StatusClosed, ProxyStatus: NotOverHTTP, Alert: AlertUnrecognizedName,
		DNS: filtered, Outcome: Outcome{Blocked, Medium}, Fault: FaultCaller,
		Advice:  "Send a server name (SNI), or ask the owner of the egress policy for tls: any.",
		Meaning: "The ClientHello names no host.",
		Remedy:  "Make the client send a server name, or write `tls: any`.",
	},
	ReasonNotTLS: {
		Word: "not_tls", Status: 403, ProxyStatus: HTTPRequestDenied, Alert: AlertUnrecognizedName,
		DNS: filtered, Outcome: Outcome{Blocked, Medium}, Fault: FaultPolicy,
		Advice:  "The rule for this host and port wants TLS. Use an https:// URL, or ask the owner of the egress policy for tls: any. To port 80 a client may send http:// without a tunnel.",
		Meaning: "A plain request goes to a port other than 80 of a rule that wants TLS. Or the first bytes of a tunnel are no ClientHello: it is closed, and where they are a request of HTTP/1.x that gets the 403, in the tunnel.",
		Remedy:  "Use an `https://` URL, or write `tls: any` in the rule, if the protocol is not TLS.",
	},
	ReasonHelloTimeout: {
		Word: "hello_timeout", Status: StatusClosed, ProxyStatus: NotOverHTTP, Alert: AlertInternalError,
		DNS: filtered, Outcome: Outcome{Blocked, Low}, Fault: FaultCaller,
		Advice:  "Send the ClientHello at once, or ask the owner of the egress policy for tls: any.",
		Meaning: "No whole ClientHello came within `limits.hello_timeout`.",
		Remedy:  "The same, where the server speaks first.",
	},
}
