package report

import (
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report/doc"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report/tally"
)

// control is what a well-known catalogue asks for, in short, and how far the
// evidence goes.
type control struct{ name, requires, shows, missing string }

// controlsSection says what the evidence shows of some controls. It never says
// that one is met.
func (b *Builder) controlsSection(groups []*tally.Group, v verification) doc.Section {
	g := doc.Grid{ID: "controls", Columns: doc.Columns("control", "Control", "asks", "What it asks for, in short", "shows", "What this evidence shows", "silent", "What it does not show")}
	for _, c := range b.controls(groups, v) {
		g.Rows = append(g.Rows, []doc.Cell{doc.Word(c.name), doc.Word(c.requires), doc.Word(c.shows), doc.Word(c.missing)})
	}
	return doc.Section{ID: "controls", Title: "What this shows of some controls", Tables: []doc.Grid{g}, Notes: []string{
		"This table says what the records show and where they are silent. It is no statement that a control is met: that is for whoever assesses it, with the texts themselves, which are shortened here.",
	}}
}

// figures are the numbers that the table of controls names.
type figures struct {
	allowed, reported, refused, nobody string
	byCredential, bySource             string
}

// figures adds up over all functions.
func (b *Builder) figures(groups []*tally.Group) figures {
	var allowed, reported, credential, source uint64
	for _, g := range groups {
		_, n := g.Sum(tally.Allowed)
		allowed += n
		_, n = g.Sum(tally.Reported)
		reported += n
		credentials, sources := byMethod(g)
		credential, source = credential+credentials, source+sources
	}
	_, nobody := b.counts.Nobody().Sum(tally.Caller)
	return figures{
		allowed: doc.Count(allowed), reported: doc.Count(reported), refused: doc.Count(b.counts.Sums().Refused), nobody: doc.Count(nobody),
		byCredential: doc.Count(credential), bySource: doc.Count(source),
	}
}

// controls returns the mapping with the numbers of this report.
func (b *Builder) controls(groups []*tally.Group, v verification) []control {
	f := b.figures(groups)
	chain := "what was read is " + v.verdict
	return []control{
		{
			"NIST SP 800-53 Rev. 5 SC-7(5), Boundary Protection: Deny by Default, Allow by Exception",
			"Network traffic is denied by default and allowed by exception, at managed interfaces or for named systems.",
			"Each destination that was let through, with the rule that is its exception (" + f.allowed + " requests), and each that was refused, with the reason (" + f.refused +
				" requests). Where report mode let through what no rule allows, it is listed (" + f.reported + " requests)." + b.probesForControls(),
			"Traffic that did not come to the proxy. That the network leaves functions no other way out: routes, security groups and the VPC's resolver show that. That the exceptions were approved.",
		},
		{
			"NIST SP 800-53 Rev. 5 SC-7(8), Boundary Protection: Route Traffic to Authenticated Proxy Servers",
			"Named internal traffic to named external networks is routed through authenticated proxy servers at managed interfaces.",
			"Requests that came to the proxy by how their function was known: " + f.byCredential + " by certificate or token, " + f.bySource +
				" by source address alone. " + f.nobody + " requests of callers that were not identified, which were refused or asked for a credential.",
			"Which traffic is meant to be routed here, and that all of it is. A source address names whoever shares that network interface, and is no authentication. DNS questions show no credential at all.",
		},
		{
			"NIST SP 800-53 Rev. 5 AU-10, Non-repudiation",
			"Irrefutable evidence that an individual, or a process acting for one, has performed certain actions.",
			"Which function asked for which destination and when, how it was known, under which policy, and what the answer was. Records are numbered and chained by hashes: " + chain + ".",
			"Which individual stands behind a function. Records are not signed: whoever can write all of them can make them anew, so compare the last hash of each boot with a copy kept elsewhere. Whoever holds a function's token can act as it.",
		},
		{
			"PCI DSS v4.0.1 Requirement 1.3.2",
			"Outbound traffic from the cardholder data environment is restricted to what is necessary, and all other is specifically denied.",
			"The destinations, ports and rules by which functions were let out, with tickets where rules have them, and what was specifically denied (" + f.refused + " requests). Rules that were never used, if a policy file was given.",
			"Which functions belong to that environment. That what is allowed is necessary. Systems and paths that do not use the proxy.",
		},
		{
			"PCI DSS v4.0.1 Requirement 10.2.2",
			"Audit logs record for each auditable event: user, type of event, date and time, success or failure, origin, and what was affected.",
			"The records have function, owner and how it was known; event; time; verdict and reason; source address; host, port and protocol. What could not be known is shown as not identified.",
			"The auditable events of other systems (10.2.1). People: a function is no user. That clocks are right (10.6).",
		},
		{
			"PCI DSS v4.0.1 Requirement 10.3.4",
			"File integrity monitoring or change detection on audit logs, so that existing log data cannot be changed without alerts.",
			"A check of the hash chain, the numbers and the totals of what was read: " + chain + ". Each finding is listed.",
			"That the check runs regularly and that somebody is alerted. A change behind the last record of a boot, and a chain that was made anew as a whole.",
		},
		{
			"SOC 2 (AICPA Trust Services Criteria) CC6.6",
			"Logical access security measures protect against threats from sources outside the boundaries of the system.",
			"For the way out alone: destinations outside that could be reached, attempts that were refused, and when the rules changed.",
			"The ways in. Other measures at the boundary. What was sent to destinations that are allowed.",
		},
	}
}
