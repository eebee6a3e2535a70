package main

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/standin"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// exportedEvent is what the tests look at of an event.
type exportedEvent struct {
	TypeUID    int    `json:"type_uid"`
	Count      int    `json:"count"`
	StatusCode string `json:"status_code"`
	Metadata   struct {
		CorrelationUID string `json:"correlation_uid"`
	}
	SrcEndpoint struct {
		IP   string
		Port int
	} `json:"src_endpoint"`
	HTTPResponse struct{ Code *int } `json:"http_response"`
	Rcode        string              `json:"rcode"`
	Unmapped     struct{ Event, Protocol string }
}

// exportFile runs export on a file and returns its events and what it tells.
func exportFile(t testing.TB, file string) (events []exportedEvent, told string) {
	t.Helper()
	var out, errs bytes.Buffer
	if code := execute(t.Context(), []string{"export", "--format", "ocsf", file}, &out, &errs); code != exitOK {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	for line := range bytes.Lines(out.Bytes()) {
		var e exportedEvent
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		events = append(events, e)
	}
	return events, errs.String()
}

// statuses is what clients saw: by the id that a refusal names, else by the
// address, which every request has for itself. There is room for 60,000 of those.
type statuses map[string]int

// see asks once and keeps the status.
func (s statuses) see(p *running, request string) reply {
	p.t.Helper()
	r, err := p.askFrom(fmt.Sprintf("127.1.%d.%d", len(s)/250, len(s)%250+1), request)
	if err != nil {
		p.t.Fatalf("%q: %v", request, err)
	}
	s.keep(p, r)
	return r
}

// keep keeps the status of an answer. A tunnel ends with the test.
func (s statuses) keep(p *running, r reply) {
	if r.conn != nil {
		p.t.Cleanup(func() { _ = r.conn.Close() })
	}
	host, _, _ := net.SplitHostPort(r.from)
	s[cmp.Or(r.Header.Get("X-Egress-Request-Id"), host)] = r.StatusCode
}

// of returns the status that the client of an event saw.
func (s statuses) of(e *exportedEvent) (status int, known bool) {
	if status, known = s[e.Metadata.CorrelationUID]; !known {
		status, known = s[e.SrcEndpoint.IP]
	}
	return status, known
}

// connectAs returns a CONNECT of a function.
func connectAs(function, target string) string {
	return "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n" + authorization(function) + "\r\n"
}

// deaf listens and accepts nobody: its queue is full.
func deaf(t testing.TB) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	syscall.CloseOnExec(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := fmt.Sprint(name.(*syscall.SockaddrInet4).Port)
	c, err := net.Dial("tcp", "127.0.0.1:"+at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return at
}

// exportPolicy is accountsPolicy with what the other reasons need.
func exportPolicy(limits string) string {
	more := `  extra:
    identify: {${token_extra}}
    allow:
      - {host: silent.test, ports: [443]}
      - {host: "*.many.test", ports: [443]}
      - {host: closed.test, ports: [${deaf}, ${mute}], tls: any, addresses: [127.0.0.0/8]}
      - {host: strict.test, ports: [${echo}], addresses: [127.0.0.0/8]}
`
	return strings.NewReplacer("deny:", "limits: {"+limits+"}\ndeny:", "families: ip4}", "families: ip4, distinct_names_per_minute: 1}").Replace(accountsPolicy) + more
}

// newExportWorld is a world for exportPolicy.
func newExportWorld(t testing.TB) *world {
	t.Helper()
	w := newEchoWorld(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	t.Cleanup(web.Close)
	mute := w.listen(func(c net.Conn) { _, _ = io.WriteString(c, "this is not HTTP\r\n\r\n") })
	w.vars["http"], w.vars["closed"], w.vars["deaf"], w.vars["mute"] = port(web.Listener), "1", deaf(t), port(mute)
	for _, name := range []string{"open.test", "strict.test", "plain.test", "closed.test"} {
		w.names.set(name, "127.0.0.1")
	}
	w.names.set("private.test", "10.1.2.3")
	w.names.set("silent.test", silence)
	return w
}

// neverOverHTTP are the reasons that no response of the test below has: those
// of lookups, and the one that stands in no record.
var neverOverHTTP = map[verdict.Reason]bool{
	verdict.ReasonTypeNotAllowed: true, verdict.ReasonAuditUnavailable: true,
}

func TestExportedStatusIsTheOneThatTheClientGot(t *testing.T) {
	t.Parallel()
	w := newExportWorld(t)
	seen := statuses{}
	first := w.start(exportPolicy("dial_timeout: 30s, hello_timeout: 30s"))
	for _, q := range w.questions() {
		r := seen.see(first, q.request)
		if q.says != "" {
			_, _ = io.WriteString(r.conn, q.says)
			_, _ = io.ReadAll(r.conn)
		}
	}
	strict := connectAs("extra", "strict.test:"+w.vars["echo"])
	for _, name := range []string{"other.test", ""} {
		r := seen.see(first, strict)
		_ = tls.Client(r.conn, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake()
	}
	seen.see(first, connectAs("extra", "silent.test:443"))
	seen.see(first, connectAs("extra", "one.many.test:443"))
	seen.see(first, connectAs("extra", "two.many.test:443"))
	seen.see(first, "GET http://closed.test:"+w.vars["mute"]+"/ HTTP/1.1\r\nHost: a\r\n"+authorization("extra")+"\r\n")
	seen.see(first, "CONNECT open.test:443 HTTP/1.1\r\nVia: 1.1 egress\r\n"+authorization("billing")+"\r\n")
	for limited := 0; limited < 2; {
		r, err := first.askFrom("127.0.3.1", connectAs("nobody", "open.test:443"))
		w.must(err)
		if seen.keep(first, r); r.reason() == "limit_failures" {
			limited++
		} else if r.reason() != "identity_rejected" || len(seen) > 1000 {
			t.Fatalf("%d requests, the last with a wrong credential got %s", len(seen), r.Status)
		}
	}
	first.signal(syscall.SIGTERM)
	first.signal(syscall.SIGINT) // the tunnels need not end by themselves
	first.wait()

	// What takes too long, in a program that soon says so.
	hasty := w.start(exportPolicy("dial_timeout: 2s, hello_timeout: 1s"))
	seen.see(hasty, connectAs("extra", "closed.test:"+w.vars["deaf"]))
	w.eventually("a tunnel waits for its ClientHello", func() bool {
		r := seen.see(hasty, strict)
		if r.conn != nil {
			_, _ = io.ReadAll(r.conn)
		}
		return r.conn != nil // or this dial was too slow as well
	})
	hasty.signal(syscall.SIGTERM)
	hasty.wait()

	open := connectAs("billing", "open.test:"+w.vars["echo"])
	narrow := w.start(exportPolicy("tunnels: 2, tunnels_per_function: 1"))
	for _, request := range []string{open, open, connectAs("nightly", "open.test:"+w.vars["echo"]), connectAs("extra", "strict.test:"+w.vars["echo"])} {
		seen.see(narrow, request)
	}
	narrow.signal(syscall.SIGTERM)
	w.eventually("the proxy drains", func() bool { status, _ := narrow.get("/readyz"); return status != http.StatusOK })
	w.eventually("new requests are refused for it", func() bool { return seen.see(narrow, open).reason() == "draining" })
	narrow.signal(syscall.SIGTERM)
	narrow.wait()

	keyless := w.start(strings.Replace(exportPolicy("tunnels: 2"), "functions:", "aws: {audience: a, accounts: {\""+attestedAccount+"\": {issuer: \"http://127.0.0.1:1\"}}}\nfunctions:", 1))
	issuer, err := standin.New(attestedAccount, "http://127.0.0.1:1")
	w.must(err)
	token := issuer.Token(issuer.Function("eu-west-1", "billing", "a", time.Now(), time.Minute))
	seen.see(keyless, "CONNECT open.test:443 HTTP/1.1\r\nProxy-Authorization: Bearer "+token+"\r\n\r\n")
	keyless.signal(syscall.SIGTERM)
	keyless.wait()

	reasons := map[string]bool{}
	for _, p := range []*running{first, hasty, narrow, keyless} {
		events, _ := exportFile(t, p.stdout)
		for i := range events {
			e := &events[i]
			want, known := seen.of(e)
			if !known {
				if e.SrcEndpoint.Port != 0 {
					t.Errorf("an event of a client that nobody was: %+v", e)
				}
				continue // the summary of a flood
			}
			if e.Unmapped.Protocol == "http" && e.Unmapped.Event != "refused" && e.Unmapped.Event != "challenged" {
				want = 0 // the origin's answer, which no record has
			}
			if e.HTTPResponse.Code == nil {
				t.Fatalf("%s %s: no status", e.Unmapped.Event, e.StatusCode)
			}
			if *e.HTTPResponse.Code != want {
				t.Errorf("%s %s: the client got %d, the event says %d", e.Unmapped.Event, e.StatusCode, want, *e.HTTPResponse.Code)
			}
			reasons[e.StatusCode] = true
		}
	}
	for _, r := range verdict.Reasons() {
		if !reasons[r.String()] && !neverOverHTTP[r] {
			t.Errorf("no client was refused for %s", r)
		}
	}
}

func TestExportOfARunHasEveryRequestAndLookup(t *testing.T) {
	t.Parallel()
	w := newNamesWorld(t)
	p := w.start(withDNS("", namesPolicy))
	for _, name := range []string{"evil.test", "www.denied.test", "fails.test", "private.test"} {
		p.lookup("127.0.1.1", "udp", name, dns.TypeA)
	}
	p.connect("", "evil.test:443")
	p.signal(syscall.SIGTERM)
	p.wait()
	events, told := exportFile(t, p.stdout)
	var got []string
	for _, e := range events {
		got = append(got, fmt.Sprintf("%d %s %d", e.TypeUID, e.StatusCode, e.Count))
	}
	want := "[400301 host_not_allowed 1 400301 host_denied 1 400301 dns_failed 1 400301 address_not_allowed 1 400201 identity_required 1]"
	if fmt.Sprint(got) != want {
		t.Errorf("events %v, want %s", got, want)
	}
	if told != "exported: HTTP Activity 1, DNS Activity 4; not exported: started 1, stopped 1\n" {
		t.Errorf("told %q", told)
	}
}

// runExport runs export in this process.
func runExport(t *testing.T, in string, args ...string) (code int, out, errs string) {
	t.Helper()
	root := newRoot()
	var stdout, stderr bytes.Buffer
	root.SetArgs(append([]string{"export"}, args...))
	root.SetIn(strings.NewReader(in))
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	err := root.ExecuteContext(t.Context())
	switch exit, ok := err.(*commandline.Exit); {
	case err == nil:
	case ok:
		code, errs = exit.Code, exit.Err.Error()
	default:
		code, errs = exitUsage, err.Error()
	}
	return code, stdout.String(), stderr.String() + errs
}

// refusalLine is a record of a refusal.
const refusalLine = `{"time":"2026-03-04T05:06:07.000000089Z","event":"refused","boot":"b0","seq":1,"prev":"3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d",` +
	`"policy":"0123456789ab","version":"v1","protocol":"connect","id":"b0-1","client":"10.0.12.7:40123","function":"billing","owner":null,"via":"token",` +
	`"method":"CONNECT","host":"evil.example","port":443,"verdict":"deny","reason":"host_not_allowed","rule":null,"line":null,"ticket":null,"addresses":null,"dialed":null,"sni":null}` + "\n"

func TestExportIsCalledRightlyOrSaysHow(t *testing.T) {
	dir := t.TempDir()
	in, empty, out := filepath.Join(dir, "records"), filepath.Join(dir, "empty"), filepath.Join(dir, "events")
	link := filepath.Join(dir, "link")
	for file, text := range map[string]string{in: refusalLine + `{"_aws":{}}` + "\n" + `{"time":`, empty: ""} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(in, link); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		why, args, errs string
		code, events    int
	}{
		{"a file", "--format ocsf " + in, "exported: HTTP Activity 1, DNS Activity 0; not exported: lines that are no records 1, broken lines 1", exitOK, 1},
		{"standard input", "--format ocsf -", "exported: HTTP Activity 1,", exitOK, 1},
		{"several files", "--format ocsf " + in + " - " + in, "exported: HTTP Activity 3,", exitOK, 3},
		{"no file", "--format ocsf", "there is no FILE; call it as", exitUsage, 0},
		{"no format", in, "--format SCHEMA is missing", exitUsage, 0},
		{"another format", "--format cef " + in, `"cef" is not a schema; write ocsf`, exitUsage, 0},
		{"a file that is not there", "--format ocsf " + in + " " + in + ".gone", "no such file", exitFailed, 1},
		{"no record", "--format ocsf " + empty, "no records were found", exitFailed, 0},
		{"the output is the input", "--format ocsf --output " + in + " " + in, "is one of the files to read", exitFailed, 0},
		{"the output is the input by another name", "--format ocsf --output " + link + " " + in, "is one of the files to read", exitFailed, 0},
		{"an output that cannot be", "--format ocsf --output " + dir + "/no/such " + in, "--output: open", exitFailed, 0},
		{"an output that is full", "--format ocsf --output /dev/full " + in, "writing events: write /dev/full: no space left", exitFailed, 0},
	} {
		t.Run(row.why, func(t *testing.T) {
			code, stdout, errs := runExport(t, refusalLine, strings.Fields(row.args)...)
			if code != row.code || !strings.Contains(errs, row.errs) {
				t.Errorf("exit code %d and %q, want %d and %q", code, errs, row.code, row.errs)
			}
			if n := strings.Count(stdout, "\n"); n != row.events {
				t.Errorf("%d events on standard output, want %d", n, row.events)
			}
		})
	}
	if b, err := os.ReadFile(in); err != nil || !strings.HasPrefix(string(b), refusalLine) {
		t.Errorf("the records are now %q, %v", b, err)
	}
	if code, stdout, errs := runExport(t, "", "--format", "ocsf", "--output", out, in); code != exitOK || stdout != "" {
		t.Errorf("exit code %d, %q, %s", code, stdout, errs)
	}
	b, err := os.ReadFile(out)
	if err != nil || strings.Count(string(b), "\n") != 1 || !json.Valid(b) {
		t.Errorf("the file has %q, %v", b, err)
	}
}
