package learn

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/printable"
)

// counted says how much there was of something.
func counted(requests uint64, days int) string {
	return fmt.Sprintf("%d requests on %d days", requests, days)
}

// Text returns the rule as it stands in a file, with what it was made of as a comment.
func (r *Rule) Text() string {
	return fmt.Sprintf("%s # %s, %s to %s", r.item(), counted(r.Requests, r.Days), r.First, r.Last)
}

// item returns the rule as an item of a list.
func (r *Rule) item() string {
	if r.CIDR == "" && r.plain() {
		return scalar(r.Host)
	}
	var b strings.Builder
	if b.WriteString("{host: " + scalar(r.Host)); r.CIDR != "" {
		b.Reset()
		fmt.Fprintf(&b, "{cidr: %q", r.CIDR)
	}
	fmt.Fprintf(&b, ", ports: %s", list(r.Ports))
	if r.TLS != policy.TLSVerify.String() {
		b.WriteString(", tls: " + r.TLS)
	}
	if len(r.Addresses) > 0 {
		fmt.Fprintf(&b, ", addresses: [%q", r.Addresses[0].String())
		for _, p := range r.Addresses[1:] {
			fmt.Fprintf(&b, ", %q", p.String())
		}
		b.WriteByte(']')
	}
	return b.String() + "}"
}

// plain reports whether a rule is what the short form means.
func (r *Rule) plain() bool {
	return r.TLS == policy.TLSVerify.String() && len(r.Addresses) == 0 && len(r.Ports) == 1 && r.Ports[0] == 443
}

// list returns ports in brackets.
func list(ports []uint16) string {
	return strings.ReplaceAll(fmt.Sprint(ports), " ", ", ")
}

// scalar returns a name as YAML reads it back: in quotes where it might be taken for
// something else.
func scalar(name string) string {
	if strings.Contains(name, ".") && name[0] >= 'a' && name[0] <= 'z' {
		return name
	}
	return fmt.Sprintf("%q", name)
}

// Write writes the proposal as a part of a policy file, with all else as comments.
func (p *Proposal) Write(w io.Writer) error {
	var b strings.Builder
	rules := 0
	for _, g := range p.Gaps {
		fmt.Fprintf(&b, "# missing: %s\n", g)
	}
	if other := p.otherPolicies(); other > 0 {
		fmt.Fprintf(&b, "# other policies than %s judged %d of the requests\n", p.Policy, other)
	}
	var body strings.Builder
	for _, f := range p.Functions {
		rules += len(f.Rules)
		f.write(&body)
	}
	if rules > 0 {
		b.WriteString("functions:\n")
	}
	b.WriteString(body.String())
	if rules == 0 {
		b.WriteString("# no rule to add\n")
	}
	_, err := io.WriteString(printable.Writer{W: w}, b.String())
	return err
}

// otherPolicies returns how many requests another policy has judged than the file's.
func (p *Proposal) otherPolicies() (n uint64) {
	for hash, requests := range p.Policies {
		if hash != p.Policy {
			n += requests
		}
	}
	return n
}

// write writes what one function needs.
func (f *Function) write(b *strings.Builder) {
	if len(f.Rules) > 0 {
		fmt.Fprintf(b, "  %s:\n    allow:\n", f.Name)
	}
	for _, r := range f.Rules {
		fmt.Fprintf(b, "      - %s\n", r.Text())
	}
	for _, d := range f.Doubts {
		fmt.Fprintf(b, "# doubt: %s: %s\n", f.Name, d)
	}
}

// WriteJSON writes the proposal as one JSON document.
func (p *Proposal) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(printable.Writer{W: w})
	e.SetIndent("", "  ")
	return e.Encode(p)
}
