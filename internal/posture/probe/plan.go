package probe

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Try is one try: a way and one target of it.
type Try struct {
	Way    Way    `json:"way"`
	Target string `json:"target"` // host:port, for ICMP an address, for Endpoint an https URL

	// Expect is by what the target is known: a name of its certificate (TLS), a text in the
	// head of the answer (HTTP), and for DNS the address that Question has. "": any answer of
	// the protocol is taken for the target's.
	Expect string `json:"expect,omitempty"`
	// Address is where Endpoint connects to (address:port). "": where its name leads.
	Address string `json:"address,omitempty"`
	// Question is the name that a resolver is asked for.
	Question string `json:"question,omitempty"`
	// Method is how it is tried.
	Method Method `json:"-"`
}

// Targets are those of the settings, by way. A way that is there with an empty list is not
// tried; one that is not there is tried with its defaults.
type Targets map[Way][]string

// Add reads one setting, WAY=TARGET, where WAY= takes the defaults away. The error says what
// is wrong with it.
func (t Targets) Add(setting string) error {
	name, target, ok := strings.Cut(setting, "=")
	row, known := find(Way(name))
	switch {
	case !ok || !known:
		return fmt.Errorf("%q: write WAY=TARGET, where WAY is one of %s", setting, strings.Join(Ways(), ", "))
	case target == "":
		t[row.Way] = []string{}
		return nil
	}
	if _, err := parse(row, target); err != nil {
		return fmt.Errorf("%q: %w", setting, err)
	}
	t[row.Way] = append(t[row.Way], target)
	return nil
}

// Plan returns what is tried: Control first, with the allowed name control (host:port). The
// ways that ask the proxy for an allowed name by NoCredential and OtherCredential take that
// name, unless they have targets of their own.
func Plan(control string, targets Targets) ([]Try, error) {
	if err := hostPort(control); err != nil {
		return nil, fmt.Errorf("the control: %w", err)
	}
	host, _, _ := net.SplitHostPort(control) // hostPort has seen to it
	tries := []Try{{Way: Control, Target: control, Expect: host, Method: MethodConnect}}
	for i := range Table {
		row := &Table[i]
		of, given := targets[row.Way]
		switch {
		case given:
		case row.Way == NoCredential || row.Way == OtherCredential:
			of = []string{control}
		default:
			of = row.Defaults
		}
		for _, target := range of {
			try, err := parse(row, target)
			if err != nil {
				return nil, fmt.Errorf("%s=%s: %w", row.Way, target, err)
			}
			tries = append(tries, *try)
		}
	}
	return tries, nil
}

// Untried returns the ways that a plan does not try: of those nothing is said.
func Untried(tries []Try) (ways []Way) {
	for i := range Table {
		if !slices.ContainsFunc(tries, func(t Try) bool { return t.Way == Table[i].Way }) {
			ways = append(ways, Table[i].Way)
		}
	}
	return ways
}

// parse reads TARGET or TARGET#EXPECT, where the second part of a resolver is NAME=ADDRESS,
// and that of Endpoint an address.
func parse(row *Row, text string) (*Try, error) {
	target, expect, _ := strings.Cut(text, "#")
	t := &Try{Way: row.Way, Target: target, Expect: expect, Method: row.Method}
	switch row.Method {
	case MethodConnect:
		return t, hostPort(target)
	case MethodEcho:
		_, err := netip.ParseAddr(target)
		return t, err
	case MethodObject:
		return t, t.parseObject()
	case MethodDNSUDP, MethodDNSTCP:
		var known bool
		if t.Question, t.Expect, known = strings.Cut(expect, "="); t.Question == "" || (known && !isAddress(t.Expect)) {
			return nil, errors.New("write ADDRESS:PORT#NAME=ADDRESS, where NAME is what is asked for")
		}
	case MethodTLS, MethodDoT, MethodDoH:
		if t.Question = expect; expect == "" {
			return nil, errors.New("write ADDRESS:PORT#NAME, where NAME is one of the certificate")
		}
	}
	_, err := netip.ParseAddrPort(target)
	return t, err
}

// parseObject reads the URL of an object, and the address of its endpoint.
func (t *Try) parseObject() error {
	if u, err := url.Parse(t.Target); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return errors.New("write an https URL, without a user")
	}
	if t.Address, t.Expect = t.Expect, ""; t.Address == "" {
		return nil
	}
	_, err := netip.ParseAddrPort(t.Address)
	return err
}

// isAddress reports whether a text is an IP address.
func isAddress(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil
}

// hostPort says what is wrong with a name and a port.
func hostPort(text string) error {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return err
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" || strings.ContainsAny(host, " \r\n\t/") {
		return fmt.Errorf("%q is no HOST:PORT", text)
	}
	return nil
}
