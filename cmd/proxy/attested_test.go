package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/standin"
)

const (
	attestedAudience = "https://egress.internal"
	attestedAccount  = "111122223333"
	billingOfAWS     = "arn:aws:lambda:eu-west-1:" + attestedAccount + ":function:billing"
)

// attestedPolicy has one function that AWS attests, with a token of its own while it moves,
// and one that moves no more. keys is the line of the account's keys, or empty.
const attestedPolicy = head + `aws:
  audience: ` + attestedAudience + `
  accounts:
    "` + attestedAccount + `": {issuer: "${issuer}", organization: o-abc${keys}}
${denied}
functions:
  billing:
    identify:
      aws: ["arn:aws:lambda:eu-west-1:` + attestedAccount + `:function:billing"]
      ${token_billing}
    allow:
      - {host: before.test, ports: [${echo}], tls: any, addresses: [127.0.0.0/8]}
      - {host: allowed.test, ports: [${port}], addresses: [127.0.0.0/8]}
      - {host: plain.test, ports: [${plain}], tls: any, addresses: [127.0.0.0/8]}
  bound:
    identify:
      aws: ["arn:aws:lambda:eu-west-1:` + attestedAccount + `:function:bound"]
      sources: [127.0.0.9/32]
    allow: [{host: before.test, ports: [${echo}], tls: any, addresses: [127.0.0.0/8]}]
`

// attestedWorld is a world with an issuer that publishes its keys on loopback.
type attestedWorld struct {
	*world
	issuer  *standin.Issuer
	down    atomic.Bool   // the issuer answers 503
	fetched atomic.Int64  // how often its keys were asked for
	release chan struct{} // closed: the plain origin ends its answers to /held
}

// newAttestedWorld makes one.
func newAttestedWorld(t *testing.T) *attestedWorld {
	t.Helper()
	w := &attestedWorld{world: newEchoWorld(t), release: make(chan struct{})}
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.fetched.Add(1)
		if w.down.Load() {
			rw.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		handler.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	issuer, err := standin.New(attestedAccount, server.URL)
	w.must(err)
	w.issuer, handler = issuer, issuer.Handler(standin.Caller{Region: "eu-west-1", Function: "billing"})
	plain := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			_ = http.NewResponseController(rw).Flush()
			select {
			case <-w.release:
			case <-r.Context().Done():
			}
		}
		_, _ = io.WriteString(rw, "plain, with "+strings.Join(r.Header.Values("Proxy-Authorization"), ","))
	}))
	t.Cleanup(plain.Close)
	w.names.set("plain.test", "127.0.0.1")
	w.vars["issuer"], w.vars["keys"], w.vars["denied"], w.vars["plain"] = server.URL, "", "", port(plain.Listener)
	return w
}

// started is the program with the policy, whose keys are there.
func (w *attestedWorld) started() *running {
	w.t.Helper()
	p := w.start(attestedPolicy)
	w.eventually("the keys are there", func() bool { code, _ := p.get("/readyz"); return code == http.StatusOK })
	return p
}

// token is a new token of a function.
func (w *attestedWorld) token(function string) string {
	return w.issuer.Token(w.issuer.Function("eu-west-1", function, attestedAudience, time.Now(), 5*time.Minute))
}

// asks sends a request with a value of Proxy-Authorization.
func (p *running) asks(source, method, target string, values ...string) reply {
	p.t.Helper()
	request := method + " " + target + " HTTP/1.1\r\nHost: x\r\n"
	for _, v := range values {
		request += "Proxy-Authorization: " + v + "\r\n"
	}
	r, err := p.askFrom(source, request+"\r\n")
	if err != nil {
		p.t.Fatal(err)
	}
	if r.conn != nil {
		p.t.Cleanup(func() { _ = r.conn.Close() })
	}
	return r
}

// basicOf is a credential by Basic.
func basicOf(function, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(function+":"+secret))
}

func TestCallersThatAWSAttestsReachTheirHosts(t *testing.T) {
	t.Parallel()
	w := newAttestedWorld(t)
	p := w.started()
	token, target := w.token("billing"), "before.test:"+w.vars["echo"]
	for _, value := range []string{"Bearer " + token, "Bearer " + token, "bearer  " + token, basicOf("billing", token)} {
		r := p.asks("127.0.0.1", "CONNECT", target, value)
		if r.conn == nil {
			t.Fatalf("%.20s: %s", value, r.Status)
		}
		r.carries(t)
	}
	if r := p.connect("billing", target); r.conn == nil {
		t.Errorf("by its own token meanwhile: %s", r.Status)
	}
	if r := p.asks("127.0.0.1", "GET", "http://plain.test:"+w.vars["plain"]+"/", "Bearer "+w.token("billing")); r.body != "plain, with " {
		t.Errorf("a plain request: %s, %q", r.Status, r.body)
	}
	if r := p.asks("127.0.0.1", "CONNECT", "evil.test:443", "Bearer "+token); r.reason() != "host_not_allowed" {
		t.Errorf("another host: %s", r.Status)
	}
	for source, want := range map[string]string{"127.0.0.9": "", "127.0.0.1": "identity_rejected"} {
		if r := p.asks(source, "CONNECT", target, "Bearer "+w.token("bound")); r.reason() != want {
			t.Errorf("bound from %s: %s", source, r.Status)
		}
	}
	// A real client, with a head field for its proxy.
	proxied := &http.Client{Transport: &http.Transport{
		Proxy:              http.ProxyURL(&url.URL{Scheme: "http", Host: p.proxy}),
		ProxyConnectHeader: http.Header{"Proxy-Authorization": {"Bearer " + w.token("billing")}}, TLSClientConfig: w.trust(),
	}}
	defer proxied.CloseIdleConnections()
	response, err := proxied.Post("https://allowed.test:"+w.vars["port"]+"/", "text/plain", strings.NewReader("from a function"))
	w.must(err)
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); string(body) != "from a function" {
		t.Errorf("a real client gets %q", body)
	}
	for _, line := range bytes.Split(p.output(), []byte("\n")) {
		if !bytes.Contains(line, []byte(`"event":"opened"`)) || bytes.Contains(line, []byte(`"via":"token"`)) {
			continue
		}
		if !bytes.Contains(line, []byte(`"via":"aws"`)) || !bytes.Contains(line, []byte(`"principal":"arn:aws:lambda:eu-west-1:`+attestedAccount+`:function:b`)) || !bytes.Contains(line, []byte(`"token_id":"`)) {
			t.Errorf("a record: %s", line)
		}
	}
	if parts := strings.Split(token, "."); bytes.Contains(p.output(), []byte(parts[2])) || strings.Contains(p.read(p.stderr), parts[1]) {
		t.Error("a token is in an output")
	}
	if p.metric(`egress_identity_verifications_total{result="verified"}`) != "5" {
		t.Errorf("%s tokens were verified, want each once", p.metric(`egress_identity_verifications_total{result="verified"}`))
	}
}

// forgeries are tokens that must not hold, by what is wrong with them.
func (w *attestedWorld) forgeries() map[string]string {
	now := time.Now()
	good := w.issuer.Key("RS256")
	attacker, err := standin.New(attestedAccount, w.issuer.URL)
	w.must(err)
	bad := attacker.Key("RS256")
	other, err := standin.New("999988887777", "https://other.example")
	w.must(err)
	head := standin.Members{"alg": "RS256", "kid": "RSA_1", "typ": "JWT"}
	with := func(h, c standin.Members) string {
		merged := standin.Members{"alg": "RS256", "kid": "RSA_1", "typ": "JWT"}
		for k, v := range h {
			merged[k] = v
		}
		claimed := w.issuer.Function("eu-west-1", "billing", attestedAudience, now, 5*time.Minute)
		for k, v := range c {
			claimed[k] = v
		}
		return standin.Sign(good, merged, claimed)
	}
	// sts signs claims of STS, changed.
	sts := func(name string, value any) string {
		claimed := w.issuer.Function("eu-west-1", "billing", attestedAudience, now, 5*time.Minute)
		claimed[standin.AWS].(standin.Members)[name] = value
		return w.issuer.Token(claimed)
	}
	tagged := w.issuer.Role("service-role/billing-role", attestedAudience, now, 5*time.Minute)
	tagged[standin.AWS].(standin.Members)["principal_tags"] = standin.Members{"lambda_source_function_arn": billingOfAWS}
	w.must(other.Rotate())
	token := w.token("billing")
	function := w.issuer.Function("eu-west-1", "billing", attestedAudience, now, 5*time.Minute)
	return map[string]string{
		"none":                     with(standin.Members{"alg": "none"}, nil),
		"hs256":                    standin.SignHMAC([]byte("public"), standin.Members{"alg": "HS256", "kid": "RSA_1"}, function),
		"es384":                    standin.Sign(w.issuer.Key("ES384"), standin.Members{"alg": "ES384", "kid": "EC384_1"}, function),
		"x5u":                      standin.Sign(bad, standin.Members{"alg": "RS256", "kid": "RSA_1", "x5u": "https://attacker.example"}, function),
		"another account's key":    standin.Sign(other.Key("RS256"), standin.Members{"alg": "RS256", "kid": "RSA_2"}, function),
		"hs256 that says rs256":    standin.SignHMAC([]byte("public"), head, function),
		"another account":          sts("aws_account", "999988887777"),
		"another organization":     sts("org_id", "o-other"),
		"with a version":           sts("lambda_source_function_arn", billingOfAWS+":7"),
		"another partition":        sts("lambda_source_function_arn", strings.Replace(billingOfAWS, "arn:aws:", "arn:aws-cn:", 1)),
		"tags named like claims":   w.issuer.Token(tagged),
		"a member twice":           standin.SignBytes(good, []byte(`{"alg":"RS256","kid":"RSA_1","kid":"RSA_1"}`), []byte("{}")),
		"an end that is no number": with(nil, standin.Members{"exp": "soon"}),
		"no key":                   with(standin.Members{"kid": ""}, nil),
		"a key that is a path":     with(standin.Members{"kid": "../../etc/passwd"}, nil),
		"crit":                     with(standin.Members{"crit": []string{"exp"}}, nil),
		"another key":              standin.Sign(bad, head, function),
		"jwk":                      standin.Sign(bad, standin.Members{"alg": "RS256", "kid": "RSA_1", "jwk": bad.Public()}, function),
		"jku":                      standin.Sign(bad, standin.Members{"alg": "RS256", "kid": "RSA_1", "jku": "https://attacker.example"}, function),
		"another issuer":           other.Token(other.Function("eu-west-1", "billing", attestedAudience, now, 5*time.Minute)),
		"for somebody else":        with(nil, standin.Members{"aud": "https://other"}),
		"over":                     with(nil, standin.Members{"iat": now.Add(-time.Hour).Unix(), "exp": now.Add(-time.Minute).Unix()}),
		"of tomorrow":              with(nil, standin.Members{"iat": now.Add(5 * time.Minute).Unix(), "exp": now.Add(10 * time.Minute).Unix()}),
		"of an hour":               with(nil, standin.Members{"exp": now.Add(time.Hour).Unix()}),
		"another function":         w.token("mail"),
		"a role":                   w.issuer.Token(w.issuer.Role("task", attestedAudience, now, 5*time.Minute)),
		"another function's entry": w.token("bound"),
		"cut":                      token[:len(token)-8],
		"four parts":               token + ".x",
		"padding":                  token + "==",
		"8 KiB and a byte":         strings.Repeat("j", 8193),
		"nothing":                  "x",
	}
}

func TestEachForgedTokenIsRefusedWithTheSameBytes(t *testing.T) {
	t.Parallel()
	w := newAttestedWorld(t)
	p := w.started()
	id := regexp.MustCompile(`X-Egress-Request-Id: \S+|request \S+`)
	target := "before.test:" + w.vars["echo"]
	seen := map[string]string{}
	refuses := func(why, source string, values ...string) {
		var raw bytes.Buffer
		r := p.asks(source, "CONNECT", target, values...)
		if r.conn != nil || r.StatusCode != http.StatusProxyAuthRequired {
			t.Errorf("%s: %s", why, r.Status)
		}
		fmt.Fprintln(&raw, r.Status)
		_ = r.Header.Write(&raw)
		raw.WriteString(strings.ReplaceAll(r.body, r.Header.Get("X-Egress-Request-Id"), "ID"))
		seen[id.ReplaceAllString(raw.String(), "ID")] = why
	}
	forged := w.forgeries()
	for why, token := range forged {
		refuses(why+", by Bearer", "127.0.0.2", "Bearer "+token)
		refuses(why+", by Basic", "127.0.0.3", basicOf("billing", token))
	}
	refuses("two fields with good tokens", "127.0.0.1", "Bearer "+w.token("billing"), "Bearer "+w.token("billing"))
	refuses("one behind a token of the file", "127.0.0.1", basicOf("billing", secretPrefix+"billing"), "Bearer "+w.token("billing"))
	refuses("from outside of its sources", "127.0.0.1", "Bearer "+w.token("bound"))
	refuses("with another function's name", "127.0.0.9", basicOf("billing", w.token("bound")))
	refuses("with no function's name", "127.0.0.9", basicOf("nobody", w.token("bound")))
	if r := p.asks("127.0.0.9", "CONNECT", target, basicOf("bound", w.token("bound"))); r.conn == nil {
		t.Errorf("the same with its own name: %s", r.Status)
	}
	if len(seen) != 1 {
		t.Errorf("%d different answers: %v", len(seen), seen)
	}
	if !p.logged("a token of AWS does not hold") {
		t.Error("the log does not say which check has failed")
	}
}

// More forged tokens than a source may show: a neighbour behind the same address whose
// token nobody has verified yet gets in, and so does one elsewhere.
func TestForgedTokensKeepNoHonestCallerOut(t *testing.T) {
	t.Parallel()
	w := newAttestedWorld(t)
	p := w.started()
	forged := "Bearer " + w.forgeries()["another key"]
	target := "before.test:" + w.vars["echo"]
	refused := 0
	for range 60 {
		if r := p.asks("127.0.0.1", "CONNECT", target, forged); r.StatusCode == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused == 0 {
		t.Error("the source is not beyond its budget")
	}
	stop := make(chan struct{})
	var flood sync.WaitGroup
	for range 8 {
		flood.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if r, err := p.ask("CONNECT " + target + " HTTP/1.1\r\nHost: x\r\nProxy-Authorization: " + forged + "\r\n\r\n"); err == nil && r.conn != nil {
					t.Error("a forged token opens a tunnel")
				}
			}
		})
	}
	for range 20 {
		if r := p.asks("127.0.0.1", "CONNECT", target, "Bearer "+w.token("billing")); r.conn == nil {
			t.Errorf("an honest caller is refused: %s", r.Status)
		}
	}
	close(stop)
	flood.Wait()
}

// With and without the issuer: what is down at start is 503 and not ready, and no other
// function notices; what is down later costs nobody anything, for the last keys hold.
func TestIssuerThatIsDown(t *testing.T) {
	t.Parallel()
	w := newAttestedWorld(t)
	w.down.Store(true)
	p := w.start(attestedPolicy)
	target := "before.test:" + w.vars["echo"]
	if code, text := p.get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(text, attestedAccount) {
		t.Errorf("at start: %d, %q", code, text)
	}
	r := p.asks("127.0.0.1", "CONNECT", target, "Bearer "+w.token("billing"))
	if r.StatusCode != http.StatusServiceUnavailable || r.reason() != "keys_unavailable" || r.Header.Get("Proxy-Status") == "" {
		t.Errorf("without keys: %s, %v", r.Status, r.Header)
	}
	if r := p.connect("billing", target); r.conn == nil {
		t.Errorf("by a token of the file: %s", r.Status)
	}
	later := newAttestedWorld(t)
	q := later.started()
	later.down.Store(true)
	for range 5 {
		if r := q.asks("127.0.0.1", "CONNECT", "before.test:"+later.vars["echo"], "Bearer "+later.token("billing")); r.conn == nil {
			t.Errorf("the issuer is gone, and the last keys do not hold: %s", r.Status)
		}
	}
}

// Keys rotate while callers show new tokens all the time: each set is published before it
// signs, and an old key is withdrawn when its tokens are no longer shown. The file goes
// away meanwhile, and the last good load stays.
func TestKeysRotateUnderLoadAndNobodyIsRefused(t *testing.T) {
	t.Parallel()
	w := newAttestedWorld(t)
	file := filepath.Join(t.TempDir(), "jwks.json")
	w.vars["keys"] = ", keys: " + file
	publish := func() {
		w.must(os.WriteFile(file+".new", w.issuer.JWKS(), 0o600))
		w.must(os.Rename(file+".new", file))
	}
	publish()
	p := w.started()
	target := "before.test:" + w.vars["echo"]
	var signer atomic.Pointer[standin.Key]
	use := func() { k := w.issuer.Key("RS256"); signer.Store(&k) }
	use()
	stop := make(chan struct{})
	var load sync.WaitGroup
	var served atomic.Int64
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				k := signer.Load()
				token := standin.Sign(*k, standin.Members{"alg": "RS256", "kid": k.ID}, w.issuer.Function("eu-west-1", "billing", attestedAudience, time.Now(), time.Minute))
				r, err := p.ask("CONNECT " + target + " HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Bearer " + token + "\r\n\r\n")
				if err != nil || r.conn == nil {
					t.Errorf("a caller is refused: %v, %v", r.Response, err)
					return
				}
				_ = r.conn.Close()
				served.Add(1)
			}
		})
	}
	some := func() {
		from := served.Load()
		w.eventually("callers are served", func() bool { return served.Load() > from+10 || t.Failed() })
	}
	for round := range 3 {
		some()
		old := w.issuer.Key("RS256").ID
		w.must(w.issuer.Rotate())
		publish()
		p.reloadWith(attestedPolicy + fmt.Sprintf("# %d\n", round))
		use()
		some()
		if round == 1 {
			w.must(os.Remove(file))
			p.signal(syscall.SIGHUP)
			w.eventually("the load fails", func() bool { return len(p.of("reload_failed")) > 0 })
			some()
		}
		w.issuer.Withdraw(old)
		publish()
		p.reloadWith(attestedPolicy + fmt.Sprintf("# %d, without %s\n", round, old))
	}
	some()
	close(stop)
	load.Wait()
}

// In an emergency a token, or an ARN, is denied: what is open ends, and nothing new begins.
// A function whose entry has gone is the same.
func TestWhatIsDeniedOrGoneEndsAsRevoked(t *testing.T) {
	t.Parallel()
	w := newAttestedWorld(t)
	for why, change := range map[string]func(id string){
		"its token": func(id string) { w.vars["denied"] = "deny_tokens: [" + id + "]" },
		"its ARN":   func(string) { w.vars["denied"] = `deny_principals: ["arn:aws:lambda:*"]` },
		"its role": func(string) {
			w.vars["denied"] = `deny_principals: ["arn:aws:iam::` + attestedAccount + `:role/service-role/*"]`
		},
		"its audience's issuer": func(string) { w.vars["issuer"] = "http://127.0.0.1:1" },
	} {
		issuer := w.vars["issuer"]
		w.vars["denied"] = ""
		p := w.started()
		target := "before.test:" + w.vars["echo"]
		token := w.token("billing")
		open := p.asks("127.0.0.1", "CONNECT", target, "Bearer "+token)
		if open.conn == nil {
			t.Fatalf("%s: %s", why, open.Status)
		}
		open.carries(t)
		byToken := p.connect("billing", target)
		var claimed struct{ JTI string }
		plain, _ := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
		w.must(json.Unmarshal(plain, &claimed))
		change(claimed.JTI)
		p.reloadWith(attestedPolicy + "# changed\n")
		open.ends(t)
		byToken.carries(t)
		if r := p.asks("127.0.0.1", "CONNECT", target, "Bearer "+token); r.reason() != "identity_rejected" {
			t.Errorf("%s: %s", why, r.Status)
		}
		w.eventually("the tunnel's end is recorded", func() bool {
			for _, r := range p.of("closed") {
				if r.Ended == "revoked" && r.Via == "aws" {
					return true
				}
			}
			return false
		})
		w.vars["issuer"] = issuer
		p.finish()
	}
}
