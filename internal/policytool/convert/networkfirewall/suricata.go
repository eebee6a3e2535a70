package networkfirewall

import (
	"regexp"
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/patterns"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// form is a rule of Suricata: action, protocol, source and its port, direction, destination
// and its port, options.
// https://docs.suricata.io/en/suricata-7.0.8/rules/intro.html
var form = regexp.MustCompile(`^(\w+)\s+([\w-]+)\s+(!?\[[^\]]*\]|[^\s\[\]]+?)\s+(!?\[[^\]]*\]|[^\s\[\]]+?)\s*(->|<>)\s*(!?\[[^\]]*\]|[^\s\[\]]+)\s+(!?\[[^\]]*\]|[^\s\[\]]+)\s*\((.*)\)$`)

// option is one of a rule, in its order.
type option struct{ key, value string }

// header is what stands before the options of a rule.
type header struct{ action, protocol, source, sourcePort, destination, ports string }

// suricata reads one rule. u has its place.
func (r *reader) suricata(u rule, text string) {
	if text == "" || strings.HasPrefix(text, "#") {
		return
	}
	parts := form.FindStringSubmatch(text)
	if parts == nil {
		r.failRule(&u, "%s is no rule of Suricata that is known here; write action, protocol, addresses, ports and options", yamlread.Quote(text))
		return
	}
	options, ok := splitOptions(parts[8])
	if !ok {
		r.failRule(&u, "its options end within a quote, or without a semicolon; write each as key; or key:value;")
		return
	}
	h := header{parts[1], parts[2], parts[3], parts[4], parts[6], parts[7]}
	switch h.action {
	case "alert":
		return // it writes an alert, and lets pass
	case "pass", "drop", "reject":
		u.allow = h.action == "pass"
	default:
		r.failRule(&u, "%s is no action of Network Firewall; write pass, drop, reject or alert", yamlread.Quote(h.action))
		return
	}
	if decides, wrong := r.read(&u, h, options); wrong != "" {
		r.failRule(&u, "%s", wrong)
	} else if decides {
		r.rules = append(r.rules, u)
	}
}

// read reads a rule that passes or drops. decides is false for one that has no say in what the
// inside reaches by TLS or HTTP.
func (r *reader) read(u *rule, h header, options []option) (decides bool, wrong string) {
	flow := flowOf(options)
	switch h.protocol {
	case "tls":
		u.tls = true
	case "http":
		u.http = true
	case "tcp", "ip":
		u.tls, u.http = true, true
	default:
		if u.allow {
			return false, "it passes " + h.protocol + ", and no rule of ours says that of a host; take it out, and give that traffic another way"
		}
		return false, "" // what it drops is neither TLS nor HTTP
	}
	if h.source == "$EXTERNAL_NET" && (flow["to_server"] || flow["from_client"]) {
		return false, "" // about connections from outside
	}
	u.anySource = h.source == "any"
	if wrong := h.wrong(); wrong != "" {
		return false, wrong
	}
	if u.ports, wrong = r.parsePorts(h.ports); wrong != "" {
		return false, wrong
	}
	return r.readOptions(u, h.protocol, flow, options)
}

// wrong says why no policy says from where or to where a rule is, or "".
func (h *header) wrong() string {
	switch {
	case h.source == "$EXTERNAL_NET":
		return "it is about what comes back from outside, which no rule says; write it for what the inside sends, with flow:to_server"
	case h.source != "any" && h.source != "$HOME_NET":
		return "its source is " + yamlread.Quote(h.source) + "; write a group for each source, with $HOME_NET"
	case h.destination != "$EXTERNAL_NET" && h.destination != "any":
		return "its destination is " + yamlread.Quote(h.destination) + ", and a list of names has no addresses; write $EXTERNAL_NET"
	case h.sourcePort != "any":
		return "it asks for the port that the client has chosen, which no rule says; write any"
	}
	return ""
}

// flowOf returns the words of all options flow.
func flowOf(options []option) map[string]bool {
	flow := map[string]bool{}
	for _, o := range options {
		if o.key == "flow" {
			for word := range strings.SplitSeq(o.value, ",") {
				flow[strings.TrimSpace(word)] = true
			}
		}
	}
	return flow
}

// readOptions reads the options of a rule about what the inside sends.
func (r *reader) readOptions(u *rule, protocol string, flow map[string]bool, options []option) (decides bool, wrong string) {
	raw := protocol == "tcp" || protocol == "ip"
	for word := range flow {
		known := []string{"to_server", "from_client", "established"}
		if raw {
			known = append(known, "not_established")
		}
		if !slices.Contains(known, word) {
			return false, "no policy says what flow:" + word + " does; write to_server, established"
		}
	}
	if raw {
		return r.readRaw(u, flow, options)
	}
	m := match{reader: r, protocol: protocol}
	for _, o := range options {
		if wrong := m.option(o); wrong != "" {
			return false, wrong
		}
	}
	u.host, wrong = m.pattern()
	return true, wrong
}

// readRaw reads the options of a rule about packets, which know no names.
func (r *reader) readRaw(u *rule, flow map[string]bool, options []option) (decides bool, wrong string) {
	for _, o := range options {
		switch wrong := r.plain(o); {
		case o.key == "ip_proto" && strings.EqualFold(o.value, "!tcp") && !u.allow:
			return false, "" // what it drops is neither TLS nor HTTP
		case wrong != "":
			return false, wrong
		}
	}
	if u.allow && flow["not_established"] {
		return false, "" // the packets that open a connection; what follows is judged
	}
	u.early = !u.allow && !flow["established"]
	return true, ""
}

// withoutSay are options that decide nothing.
var withoutSay = []string{"msg", "sid", "rev", "gid", "classtype", "reference", "metadata", "alert", "noalert", "flow"}

// plain reads an option that decides nothing, or says why it does.
func (r *reader) plain(o option) (wrong string) {
	switch {
	case o.key == "priority" && r.strict:
		return "priority has no place in strict order; take it out"
	case o.key == "priority", slices.Contains(withoutSay, o.key):
		return ""
	}
	return "no policy says what the option " + yamlread.Quote(o.key) + " does; take the rule out, or write it without"
}

// match is what a rule asks of the name that a client shows.
type match struct {
	*reader
	protocol  string
	buffer    string // tls.sni, http.host or http.header_names
	content   string
	contents  int
	dotprefix bool
	has       map[string]bool // startswith, endswith, nocase
}

// option reads one option of a rule about TLS or HTTP.
// https://docs.suricata.io/en/suricata-7.0.8/rules/payload-keywords.html and transforms.html
func (m *match) option(o option) (wrong string) {
	buffers := map[string]string{"tls.sni": "tls", "http.host": "http", "http.header_names": "http"}
	switch of, isBuffer := buffers[o.key]; {
	case isBuffer && (of != m.protocol || m.buffer != ""):
		return "it asks for " + o.key + " in a rule about " + m.protocol + ", or for two things; write tls.sni or http.host once"
	case isBuffer:
		m.buffer = o.key
		return ""
	}
	switch o.key {
	case "ssl_state":
		if o.value == "client_hello" && m.protocol == "tls" {
			return ""
		}
	case "dotprefix":
		m.dotprefix = true
		return ""
	case "content":
		m.content, m.contents = o.value, m.contents+1
		return ""
	case "startswith", "endswith", "nocase":
		if m.has == nil {
			m.has = map[string]bool{}
		}
		m.has[o.key] = true
		return ""
	}
	return m.plain(o)
}

// place is where in a name the text of a rule has to stand.
type place struct{ starts, ends, dotprefix bool }

// fronts are what a pattern has before the text, for the places that a pattern can say. The
// text begins with a dot, unless it is the whole name.
var fronts = map[place]string{
	{starts: true, ends: true}:    "",  // the name
	{ends: true, dotprefix: true}: "",  // the name and all below it: a dot is put before what the client shows
	{ends: true}:                  "*", // all below the name
}

// pattern returns the names that the rule is about; zero: all.
func (m *match) pattern() (p hostname.Pattern, wrong string) {
	at := place{m.has["startswith"], m.has["endswith"], m.dotprefix}
	switch {
	case m.buffer == "" && m.contents == 0:
		return p, "" // all TLS, or all HTTP
	case m.buffer == "http.header_names" && m.contents == 1 && m.content == "|0d 0a|" && at == place{starts: true}:
		return p, "" // all HTTP, as Network Firewall writes it
	case m.buffer == "" || m.buffer == "http.header_names" || m.contents != 1:
		return p, "it asks for something else than one name; write tls.sni or http.host with one content"
	}
	return m.named(at)
}

// named returns the names that the text stands for at its place.
func (m *match) named(at place) (p hostname.Pattern, wrong string) {
	front, known := fronts[at]
	switch {
	case strings.ToLower(m.content) != m.content && (m.protocol == "http" || !m.has["nocase"]):
		return p, yamlread.Quote(m.content) + " has capital letters and fits no name; write it in small ones"
	case !known || strings.HasPrefix(m.content, ".") == at.starts || strings.HasPrefix(m.content, "*"):
		return p, "content " + yamlread.Quote(m.content) + " also fits names that no pattern has; write startswith and endswith, or dotprefix, a dot in front and endswith"
	}
	return patterns.Parse(front + m.content)
}

// splitOptions splits the options of a rule at semicolons that stand in no quote.
func splitOptions(s string) (all []option, ok bool) {
	var one strings.Builder
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			one.WriteString(s[i : i+2])
			i++
		case c == ';' && !quoted:
			key, value, _ := strings.Cut(one.String(), ":")
			key, value = strings.TrimSpace(key), strings.TrimSpace(value)
			if inner, found := strings.CutPrefix(value, `"`); found {
				value = strings.TrimSuffix(inner, `"`)
			}
			all = append(all, option{key, value})
			one.Reset()
		default:
			quoted = quoted != (c == '"')
			one.WriteByte(c)
		}
	}
	return all, !quoted && strings.TrimSpace(one.String()) == ""
}
