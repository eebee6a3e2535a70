package networkfirewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/patterns"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// maxText bounds what is read of a value: a rule group has two million characters at most.
const maxText = 4 << 20

// document reads what describe-rule-group prints, or a rule group alone.
func (r *reader) document(n yamlread.Node) {
	r.function = r.options.Function
	described := false
	if n.IsMapping() {
		r.Members(n, func(key string, _ yamlread.Node) { described = described || key == "RuleGroup" })
	}
	if !described {
		r.group(n)
	} else {
		r.Object(n,
			yamlread.Key("UpdateToken", func(yamlread.Node) {}),
			yamlread.Key("RuleGroupResponse", r.response),
			yamlread.Key("RuleGroup", r.group),
		)
	}
	switch at := (yamlread.Position{File: r.name, Line: 1}); {
	case r.function == "":
		r.FailAt(at, "file", "it does not say what the group is called; give the name of the function with --function")
	case !identity.ValidFunction(r.function):
		r.FailAt(at, "file", "%s cannot be the name of a function; give one of 1 to 64 of A-Z a-z 0-9 - . _ ~ with --function", yamlread.Quote(r.function))
	}
}

// response reads what is said of the group beside its rules: its name is that of the
// function, and it has to be stateful.
func (r *reader) response(n yamlread.Node) {
	r.Members(n, func(key string, member yamlread.Node) {
		switch key {
		case "RuleGroupName":
			if name := r.Text(member, maxText); r.function == "" {
				r.function = name
			}
		case "Type":
			r.Word(member, "STATEFUL")
		}
	})
}

// group reads the rule group. Its order and its variables come before its rules.
func (r *reader) group(n yamlread.Node) {
	r.top = n.Position()
	found := r.Object(n,
		yamlread.Key("StatefulRuleOptions", func(n yamlread.Node) {
			r.Object(n, yamlread.Key("RuleOrder", func(n yamlread.Node) {
				r.strict = r.Word(n, "DEFAULT_ACTION_ORDER", "STRICT_ORDER") == 1
			}))
		}),
		yamlread.Key("RuleVariables", func(n yamlread.Node) {
			r.Object(n, yamlread.Key("IPSets", r.ipSets), yamlread.Key("PortSets", r.readPortSets))
		}),
		yamlread.Key("ReferenceSets", func(n yamlread.Node) {
			r.Fail(n, "the addresses of a reference are not in the file; take it out, with the rules that have it")
		}),
		yamlread.Key("SummaryConfiguration", func(yamlread.Node) {}),
		yamlread.Key("RulesSource", func(n yamlread.Node) {
			r.Object(n,
				yamlread.Key("RulesSourceList", r.domainList),
				yamlread.Key("RulesString", r.rulesString),
				yamlread.Key("StatefulRules", r.standardRules),
				yamlread.Key("StatelessRulesAndCustomActions", func(n yamlread.Node) {
					r.Fail(n, "stateless rules know addresses alone, and a list of names has none; give a stateful group")
				}),
			)
		}),
	)
	r.Require(n, found, "it has the rules", "RulesSource")
}

// definition reads the values of one variable.
func (r *reader) definition(n yamlread.Node) (all []string) {
	r.Object(n, yamlread.Key("Definition", func(n yamlread.Node) {
		r.List(n, func(item yamlread.Node) { all = append(all, r.Text(item, maxText)) })
	}))
	return all
}

// ipSets reads variables of addresses: HOME_NET is who calls. Others are read where
// a rule has them, which is a problem there.
func (r *reader) ipSets(n yamlread.Node) {
	var external []string
	var at yamlread.Node
	r.Members(n, func(name string, member yamlread.Node) {
		switch values := r.definition(member); name {
		case "HOME_NET":
			r.homeText = values
			for _, v := range values {
				r.addHome(member, v)
			}
		case "EXTERNAL_NET":
			external, at = values, member
		}
	})
	for _, v := range external {
		inside, outside := strings.CutPrefix(v, "!")
		if v != "0.0.0.0/0" && v != "::/0" && !(outside && slices.Contains(r.homeText, inside)) {
			r.Fail(at, "%s narrows where connections go by address, which no rule about names says; write all that is not HOME_NET", yamlread.Quote(v))
		}
	}
}

// addHome adds a range of HOME_NET.
func (r *reader) addHome(n yamlread.Node, v string) {
	p, err := netip.ParsePrefix(v)
	if addr, noPrefix := netip.ParseAddr(v); noPrefix == nil && addr.Zone() == "" {
		p, err = addr.Prefix(addr.BitLen())
	}
	if err != nil || p.Masked() != p || p.Addr().Is4In6() {
		r.Fail(n, "%s is no range of addresses; write one such as 10.0.1.0/24", yamlread.Quote(v))
		return
	}
	r.home = append(r.home, p)
}

// readPortSets reads variables of ports.
func (r *reader) readPortSets(n yamlread.Node) {
	r.Members(n, func(name string, member yamlread.Node) {
		ports, wrong := r.parsePorts("[" + strings.Join(r.definition(member), ",") + "]")
		if wrong != "" {
			r.Fail(member, "%s", wrong)
		}
		r.portSets[name] = ports
	})
}

// domainList reads a list of names, and makes the rules that Network Firewall makes of it.
// https://docs.aws.amazon.com/network-firewall/latest/developerguide/stateful-rule-groups-domain-names.html
func (r *reader) domainList(n yamlread.Node) {
	rest := rule{at: n.Position(), key: n.Path(), ports: allPorts()}
	kind, list := 0, []rule(nil)
	found := r.Object(n,
		yamlread.Key("GeneratedRulesType", func(n yamlread.Node) {
			kind = r.Word(n, "ALLOWLIST", "DENYLIST", "REJECTLIST", "ALERTLIST")
		}),
		yamlread.Key("TargetTypes", func(n yamlread.Node) {
			r.List(n, func(item yamlread.Node) {
				tls := r.Word(item, "TLS_SNI", "HTTP_HOST") == 0
				rest.tls, rest.http = rest.tls || tls, rest.http || !tls
			})
		}),
		yamlread.Key("Targets", func(n yamlread.Node) {
			r.List(n, func(item yamlread.Node) {
				u := rule{at: item.Position(), key: item.Path(), allow: kind == 0, ports: allPorts()}
				if p, wrong := targetPattern(r.Text(item, maxText)); wrong != "" {
					r.Fail(item, "%s", wrong)
				} else {
					u.host = p
					list = append(list, u)
				}
			})
		}),
	)
	r.Require(n, found, "a domain list has it", "GeneratedRulesType", "TargetTypes", "Targets")
	if kind == 3 {
		return // it writes alerts, and lets pass
	}
	for _, u := range list {
		u.tls, u.http = rest.tls, rest.http
		r.rules = append(r.rules, u)
	}
	if kind == 0 {
		r.rules = append(r.rules, rest)
	}
}

// targetPattern parses a target: a name, or a dot and a name for that name and all below it.
func targetPattern(s string) (hostname.Pattern, string) {
	if strings.HasPrefix(s, "*") {
		return hostname.Pattern{}, yamlread.Quote(s) + " is no target of a domain list; write a name, or a dot and a name"
	}
	return patterns.Parse(s)
}

// rulesString reads rules in the syntax of Suricata.
func (r *reader) rulesString(n yamlread.Node) {
	text, ok := r.Scalar(n, "rules")
	if !ok {
		return
	}
	line, first, joined := 0, 0, ""
	for part := range strings.Lines(text) {
		line++
		if joined == "" {
			first = line
		}
		part = strings.TrimSpace(part)
		if before, more := strings.CutSuffix(part, `\`); more {
			joined += before + " "
			continue
		}
		r.suricata(rule{at: n.Position(), key: fmt.Sprintf("%s, line %d", n.Path(), first)}, joined+part)
		joined = ""
	}
	if joined != "" {
		r.Fail(n, "its last line goes on behind its end; take the backslash out")
	}
}

// standardRules reads standard stateful rules, as the rules of Suricata that Network Firewall
// makes of them.
func (r *reader) standardRules(n yamlread.Node) {
	r.List(n, func(item yamlread.Node) {
		var action, options string
		header := map[string]string{}
		found := r.Object(item,
			yamlread.Key("Action", func(n yamlread.Node) { action = strings.ToLower(r.Text(n, maxText)) }),
			yamlread.Key("Header", func(n yamlread.Node) {
				r.Members(n, func(key string, member yamlread.Node) { header[key] = r.Text(member, maxText) })
			}),
			yamlread.Key("RuleOptions", func(n yamlread.Node) {
				r.List(n, func(n yamlread.Node) { options += r.ruleOption(n) })
			}),
		)
		if r.Require(item, found, "a rule has it", "Action", "Header", "RuleOptions"); len(found) < 3 {
			return
		}
		arrow := map[string]string{"FORWARD": "->", "ANY": "<>"}[header["Direction"]]
		lower := func(key string) string { // ANY is any; names of variables stay as they are
			if v := header[key]; !strings.EqualFold(v, "any") {
				return v
			}
			return "any"
		}
		r.suricata(rule{at: item.Position(), key: item.Path()}, strings.Join([]string{action, strings.ToLower(header["Protocol"]),
			lower("Source"), lower("SourcePort"), arrow, lower("Destination"), lower("DestinationPort"), "(" + options + ")"}, " "))
	})
}

// ruleOption reads one option of a standard rule, as Suricata writes it.
func (r *reader) ruleOption(n yamlread.Node) string {
	keyword, settings := "", []string(nil)
	r.Object(n,
		yamlread.Key("Keyword", func(n yamlread.Node) { keyword = r.Text(n, maxText) }),
		yamlread.Key("Settings", func(n yamlread.Node) {
			r.List(n, func(item yamlread.Node) { settings = append(settings, r.Text(item, maxText)) })
		}),
	)
	if len(settings) == 0 {
		return keyword + "; "
	}
	return keyword + ":" + strings.Join(settings, ",") + "; "
}
