package output

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/snapshot"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/summary"
)

// browser is a page of Chromium, driven by its DevTools protocol.
type browser struct {
	t    *testing.T
	conn *websocket.Conn
	id   int
}

// openInChromium opens a file. Without Chromium the test is skipped; CHROMIUM names it
// where it is not in PATH.
func openInChromium(t *testing.T, file string) *browser {
	t.Helper()
	program := os.Getenv("CHROMIUM")
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); program == "" && err == nil {
			program = found
		}
	}
	if program == "" {
		t.Skip("Chromium is not installed (on Debian: apt-get install chromium), nor named by CHROMIUM")
	}
	cmd := exec.Command(program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0",
		"--remote-allow-origins=*", "--user-data-dir="+t.TempDir(), "about:blank")
	cmd.WaitDelay = 5 * time.Second
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer stop.Stop()
		_ = cmd.Wait()
	})
	lines, host := bufio.NewScanner(stderr), ""
	for host == "" && lines.Scan() {
		if _, after, ok := strings.Cut(lines.Text(), "DevTools listening on ws://"); ok {
			host, _, _ = strings.Cut(after, "/")
		}
	}
	if host == "" {
		t.Fatalf("Chromium did not say where it listens: %v", lines.Err())
	}
	go func() {
		for lines.Scan() { // so that it never waits for its standard error
		}
	}()
	resp, err := http.Get("http://" + host + "/json/list")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var pages []struct{ Type, WebSocketDebuggerURL string }
	if err := json.NewDecoder(resp.Body).Decode(&pages); err != nil {
		t.Fatal(err)
	}
	for _, p := range pages {
		if p.Type == "page" {
			conn, err := websocket.Dial(p.WebSocketDebuggerURL, "", "http://"+host)
			if err != nil {
				t.Fatal(err)
			}
			// Killed, it would leave children that write to its folder while that is removed.
			t.Cleanup(func() {
				_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
				_ = websocket.JSON.Send(conn, map[string]any{"id": 1 << 20, "method": "Browser.close"})
				var last any
				for websocket.JSON.Receive(conn, &last) == nil {
					last = nil // until it has closed
				}
				_ = conn.Close()
			})
			b := &browser{t: t, conn: conn}
			b.open("file://" + file)
			return b
		}
	}
	t.Fatalf("Chromium has no page: %+v", pages)
	return nil
}

// open goes to a page and waits until it is there.
func (b *browser) open(url string) {
	b.t.Helper()
	b.call("Page.navigate", map[string]any{"url": url}, nil)
	for range 600 {
		var there bool
		if b.eval(`location.href !== "about:blank" && document.readyState === "complete"`, &there); there {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.t.Fatalf("%s did not open", url)
}

// call makes one call of the protocol and decodes its result.
func (b *browser) call(method string, params map[string]any, result any) {
	b.t.Helper()
	b.id++
	if err := b.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		b.t.Fatal(err)
	}
	if err := websocket.JSON.Send(b.conn, map[string]any{"id": b.id, "method": method, "params": params}); err != nil {
		b.t.Fatal(err)
	}
	for {
		var answer struct {
			ID     int
			Result json.RawMessage
			Error  json.RawMessage
		}
		if err := websocket.JSON.Receive(b.conn, &answer); err != nil {
			b.t.Fatal(err)
		}
		if answer.ID != b.id {
			continue // an event
		}
		if answer.Error != nil {
			b.t.Fatalf("%s: %s", method, answer.Error)
		}
		if result != nil {
			if err := json.Unmarshal(answer.Result, result); err != nil {
				b.t.Fatal(err)
			}
		}
		return
	}
}

// eval runs an expression in the page and decodes what it comes to.
func (b *browser) eval(expression string, into any) {
	b.t.Helper()
	var out struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &out)
	if out.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s", expression, out.ExceptionDetails)
	}
	if err := json.Unmarshal(out.Result.Value, into); err != nil {
		b.t.Fatalf("%s: %v", out.Result.Value, err)
	}
}

// clipped returns what of the page lies beyond its width.
const clipped = `[...document.querySelectorAll("th, td, svg, h1, p, input")].filter((e) => {
	const r = e.getBoundingClientRect();
	return r.width > 0 && (r.right > document.documentElement.clientWidth + 1 || r.left < -1 || e.localName !== "svg" && e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0);
}).map((e) => e.localName + " " + e.textContent.slice(0, 40))`

// wide is a report with long names and many rows.
func wide() *Report {
	region := snapshot.Region{Name: "ap-southeast-2"}
	var found []finding.Finding
	for i := range 40 {
		name := fmt.Sprintf("billing_webhook_of_the_second_partner_with_a_name_of_64_letters_%02d", i)
		region.Functions = append(region.Functions, snapshot.Function{Name: name})
		if i%4 == 0 {
			arn := "arn:aws:lambda:ap-southeast-2:111122223333:function:" + name
			found = append(found, finding.Finding{
				ID: "P02", Title: "route to a NAT gateway", Owner: "111122223333", Region: region.Name, Resource: arn, Evidence: strings.Repeat("rtb_0123456789abcdef0,", 20),
				Consequence: "code goes out", Cure: "aws ec2 delete-route --route-table-id rtb-0123456789abcdef0 --destination-cidr-block 0.0.0.0/0", Functions: []string{name},
			})
		}
	}
	set := &snapshot.Set{Snapshots: []snapshot.Snapshot{{ID: "111122223333", Regions: []snapshot.Region{region}}}}
	s := summary.Of(set, found)
	return &Report{Made: "2026-01-31T00:00:00Z", Version: "devel", Headline: s.Headline(), Summary: s, Findings: found}
}

func TestThePageInABrowser(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "posture.html")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(file, wide(), HTML); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	b := openInChromium(t, name)
	var headline string
	if b.eval(`document.getElementById("headline").textContent`, &headline); headline != "30 of 40 functions are behind the gate" {
		t.Errorf("headline %q", headline)
	}
	for _, width := range []int{1280, 375} {
		b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false}, nil)
		b.unclipped(fmt.Sprint(width, " px"))
	}
	var shown []int
	b.eval(`["", "P02 high", "letters_04", "nothing of the kind", ""].map((words) => {
		const filter = document.getElementById("filter");
		filter.value = words;
		filter.dispatchEvent(new Event("input"));
		return [...document.querySelectorAll("tr.row")].filter((row) => row.getBoundingClientRect().height > 0).length;
	})`, &shown)
	if fmt.Sprint(shown) != "[50 10 2 0 50]" {
		t.Errorf("rows shown: %v", shown)
	}
	// Paper without its margins of 12 mm, at 96 pixels an inch.
	b.call("Emulation.setEmulatedMedia", map[string]any{"media": "print"}, nil)
	for paper, inches := range map[string][2]float64{"A4": {8.27, 11.69}, "Letter": {8.5, 11}} {
		b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": int(inches[0]*96 - 91), "height": 1000, "deviceScaleFactor": 1, "mobile": false}, nil)
		b.unclipped(paper)
		var pdf struct{ Data []byte }
		b.call("Page.printToPDF", map[string]any{"paperWidth": inches[0], "paperHeight": inches[1]}, &pdf)
		if !strings.HasPrefix(string(pdf.Data), "%PDF-") {
			t.Errorf("%s: %d bytes that are no PDF", paper, len(pdf.Data))
		}
	}
}

// unclipped checks that nothing lies beyond the width of the page.
func (b *browser) unclipped(where string) {
	b.t.Helper()
	var beyond []string
	var scroll, width int
	b.eval(clipped, &beyond)
	b.eval(`document.documentElement.scrollWidth`, &scroll)
	if b.eval(`document.documentElement.clientWidth`, &width); len(beyond) > 0 || scroll > width {
		b.t.Errorf("%s: the page is %d of %d wide; beyond it: %q", where, scroll, width, beyond)
	}
}
