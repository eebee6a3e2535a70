package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest/awslocal"
)

// What each client prints: a line for the allowed host and one for the refused.
const (
	pythonClient = `
import os, urllib.request
for name, host in (("allowed", "allowed.test"), ("refused", "refused.test")):
    try: print(name, urllib.request.urlopen("https://%s/" % host, timeout=20).read().decode())
    except OSError as e: print(name, e)
`
	requestsClient = `
import requests
for name, host in (("allowed", "allowed.test"), ("refused", "refused.test")):
    try: print(name, requests.get("https://%s/" % host, timeout=20).text)
    except OSError as e: print(name, e)
`
	botoClient = `
import boto3, botocore.config
c = botocore.config.Config(retries={"total_max_attempts": 1})
for name, host in (("allowed", "allowed.test"), ("refused", "refused.test")):
    try: print(name, boto3.client("s3", endpoint_url="https://" + host, config=c).list_buckets()["Owner"]["ID"])
    except Exception as e: print(name, type(e).__name__)
`
	nodeClient = `
const https = require('https');
const agent = new https.Agent({ keepAlive: true, maxSockets: 50 }); // as AWS SDK v3 makes one
const get = (name, host) => new Promise((done) => https.get('https://' + host + '/', { agent }, (r) => {
  let text = ''; r.on('data', (d) => text += d); r.on('end', () => { console.log(name, text); done(); });
}).on('error', (e) => { console.log(name, e.message); done(); }));
get('allowed', 'allowed.test').then(() => get('refused', 'refused.test')).then(() => agent.destroy());
`
	nodeFetch = `
(async () => { for (const [name, host] of [['allowed', 'allowed.test'], ['refused', 'refused.test']])
  try { console.log(name, await (await fetch('https://' + host + '/')).text()); } catch (e) { console.log(name, 'refused by fetch'); } })();
`
	nodeSDK = `
const { S3Client, ListBucketsCommand } = require('@aws-sdk/client-s3');
(async () => { for (const [name, host] of [['allowed', 'allowed.test'], ['refused', 'refused.test']])
  try { const c = new S3Client({ region: 'eu-west-1', endpoint: 'https://' + host, maxAttempts: 1 });
    console.log(name, (await c.send(new ListBucketsCommand({}))).Owner.ID); } catch (e) { console.log(name, e.message); } })();
`
	javaClient = `
import java.net.*; import java.net.http.*;
public class Client { public static void main(String[] a) throws Exception {
  HttpClient c = HttpClient.newHttpClient();
  for (String name : new String[]{"allowed", "refused"}) try {
    System.out.println(name + " " + c.send(HttpRequest.newBuilder(URI.create("https://" + name + ".test/")).build(), HttpResponse.BodyHandlers.ofString()).body());
  } catch (java.io.IOException e) { System.out.println(name + " by HttpClient"); }
  try { new URL("https://refused.test/").openStream(); } catch (java.io.IOException e) { System.out.println("refused " + e.getMessage()); } } }
`
	goClient = `package main
import ("fmt"; "io"; "net/http")
func main() { for _, name := range []string{"allowed", "refused"} {
	r, err := http.Get("https://" + name + ".test/")
	if err != nil { fmt.Println(name, err); continue }
	b, _ := io.ReadAll(r.Body); fmt.Println(name, string(b)) } }
`
)

// buckets is what the origin says, of which S3's clients read the owner.
const buckets = `<ListAllMyBucketsResult><Owner><ID>from-the-origin</ID></Owner><Buckets/></ListAllMyBucketsResult>`

// site is what the clients of the runtimes meet: a proxy that allows one host, the
// extension, and a stand-in for Lambda's API and STS.
type site struct {
	t   *testing.T
	dir string
	env []string // of a function's clients
	ca  string   // PEM file

	extension []string // settings of an extension before the same proxy
}

// newSite starts everything.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir()}
	authority := egresstest.NewAuthority(t)
	origin := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, buckets) }))
	origin.TLS = &tls.Config{Certificates: []tls.Certificate{authority.Issue("allowed.test")}}
	origin.StartTLS()
	t.Cleanup(origin.Close)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{authority.Issue("localhost")}})
	if err != nil {
		t.Fatal(err)
	}
	egresstest.Serve(t, ln, func(c net.Conn) { allowOne(c, origin.Listener.Addr().String()) })
	s.ca = filepath.Join(s.dir, "ca.pem")
	s.write("ca.pem", string(authority.PEM()))
	runtime, sts := awslocal.NewRuntime(t), awslocal.NewSTS(t)
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	s.extension = append(sts.Env(), "EGRESS_PROXY=https://localhost:"+port, "EGRESS_AUDIENCE=a", "EGRESS_CA="+s.ca)
	e := startExtension(t, append(s.extension, "AWS_LAMBDA_RUNTIME_API="+runtime.Address)...)
	egresstest.Eventually(t, "the extension is ready", func() bool { return runtime.Pending() == 1 })
	s.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "GOCACHE=" + os.Getenv("GOCACHE"), "EGRESS_LISTEN=" + e.address, "AWS_LAMBDA_RUNTIME_API=" + runtime.Address,
		"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=a", "AWS_REGION=eu-west-1", "AWS_DEFAULT_REGION=eu-west-1", "NODE_NO_WARNINGS=1", "NODE_PATH=" + os.Getenv("NODE_PATH"),
		"SSL_CERT_FILE=" + s.ca, "REQUESTS_CA_BUNDLE=" + s.ca, "AWS_CA_BUNDLE=" + s.ca, "NODE_EXTRA_CA_CERTS=" + s.ca,
	}
	return s
}

// allowOne is a proxy: it tunnels to the origin for one host, if a token is shown.
func allowOne(c net.Conn, origin string) {
	in := bufio.NewReader(c)
	r, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	switch {
	case !strings.HasPrefix(r.Header.Get("Proxy-Authorization"), "Bearer "):
		io.WriteString(c, "HTTP/1.1 407 Egress refused: identity_required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		return
	case r.Method != http.MethodConnect || r.Host != "allowed.test:443":
		io.WriteString(c, "HTTP/1.1 403 Egress refused: host_not_allowed refused.test for f\r\nX-Egress-Reason: host_not_allowed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		return
	}
	up, err := net.Dial("tcp", origin)
	if err != nil {
		return
	}
	defer up.Close()
	io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	go func() { io.Copy(up, in); up.(*net.TCPConn).CloseWrite() }()
	io.Copy(c, up)
}

// write writes a file of the site and returns its path.
func (s *site) write(name, text string) string {
	s.t.Helper()
	file := filepath.Join(s.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return file
}

// run runs a command by the wrapper, as Lambda starts a runtime, and returns its output.
func (s *site) run(t *testing.T, command ...string) string {
	t.Helper()
	wrapper, err := filepath.Abs("../../deploy/lambda/wrapper")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, wrapper, command...)
	var failures bytes.Buffer
	cmd.Env, cmd.Dir, cmd.Stderr = s.env, s.dir, &failures
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s%s", command, err, out, &failures)
	}
	return string(out)
}

// needs skips where a command does not succeed, and says which.
func needs(t *testing.T, command ...string) {
	t.Helper()
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		t.Skipf("%s is not to be had: %v %.200s", strings.Join(command, " "), err, out)
	}
}

// Each client is as its language has it, with no line for a proxy in it. Lambda's API is
// a stand-in of the test, and the runtime's command is run by the wrapper alone.
func TestClientsOfEachRuntimeReachTheProxyWithoutAChangeOfCode(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const refusal = "refused %s"
	reason := "Egress refused: host_not_allowed refused.test for f"
	for _, tt := range []struct {
		name    string
		needs   []string
		command func(t *testing.T) []string
		allowed string
		refused string
	}{
		{"Python urllib", []string{"python3", "--version"}, func(*testing.T) []string { return []string{"python3", "-c", pythonClient} }, buckets, "refused <urlopen error Tunnel connection failed: 403 " + reason + ">"},
		{"Python requests", []string{"python3", "-c", "import requests"}, func(*testing.T) []string { return []string{"python3", "-c", requestsClient} }, buckets, "403 " + reason},
		{"Python boto3", []string{"python3", "-c", "import boto3"}, func(*testing.T) []string { return []string{"python3", "-c", botoClient} }, "from-the-origin", "refused ProxyConnectionError"},
		{"Node https with an agent of its own", []string{"node", "--version"}, func(*testing.T) []string { return []string{"node", "-e", nodeClient} }, buckets, fmt.Sprintf(refusal, reason)},
		{"Node fetch", []string{"node", "-e", "const [a,b]=process.versions.node.split('.').map(Number);process.exit(a>24||a==24&&b>=5||a==22&&b>=21?0:1)"},
			func(*testing.T) []string { return []string{"node", "-e", nodeFetch} }, buckets, "refused by fetch"},
		{"Node AWS SDK v3", []string{"node", "-e", "require('@aws-sdk/client-s3')"}, func(*testing.T) []string { return []string{"node", "-e", nodeSDK} }, "from-the-origin", fmt.Sprintf(refusal, reason)},
		{"Java", []string{"keytool", "-help"}, s.java, buckets, reason},
		{"Go", []string{"go", "version"}, s.golang, buckets, fmt.Sprintf("refused Get \"https://refused.test/\": %s", reason)},
		{"curl", []string{"curl", "--version"}, func(*testing.T) []string {
			return []string{"sh", "-c", "curl -sS --cacert " + s.ca + " https://allowed.test/; curl -sv https://refused.test/ 2>&1 || true"}
		}, buckets, reason},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			needs(t, tt.needs...)
			out := s.run(t, tt.command(t)...)
			if !strings.Contains(out, tt.allowed) {
				t.Errorf("the allowed host: got %s, want %q", out, tt.allowed)
			}
			if !strings.Contains(out, tt.refused) {
				t.Errorf("the refused host: got %s, want %q", out, tt.refused)
			}
		})
	}
}

// java returns the command of the Java client.
func (s *site) java(t *testing.T) []string {
	needs(t, "java", "-version")
	return append(s.trusting(t), s.write("Client.java", javaClient))
}

// trusting returns the begin of a command of Java, with a trust store of the authority.
func (s *site) trusting(t *testing.T) []string {
	needs(t, "keytool", "-help")
	store := filepath.Join(t.TempDir(), "trust.p12")
	if out, err := exec.Command("keytool", "-importcert", "-noprompt", "-file", s.ca, "-keystore", store, "-storetype", "PKCS12", "-storepass", "changeit").CombinedOutput(); err != nil {
		t.Fatalf("keytool: %v: %s", err, out)
	}
	return []string{"java", "-Djavax.net.ssl.trustStore=" + store, "-Djavax.net.ssl.trustStorePassword=changeit"}
}

// golang returns the command of the Go client.
func (s *site) golang(t *testing.T) []string { return []string{s.built(t, "client", goClient)} }

// built builds a program in Go, which reads SSL_CERT_FILE on Linux.
func (s *site) built(t *testing.T, name, text string) string {
	if _, err := os.Stat("/proc/self"); err != nil {
		t.Skip("Go reads SSL_CERT_FILE on Linux alone")
	}
	file := filepath.Join(s.dir, name)
	if out, err := exec.Command("go", "build", "-o", file, s.write(name+".go", text)).CombinedOutput(); err != nil {
		t.Fatalf("building: %v: %s", err, out)
	}
	return file
}

// The wrapper keeps what the function has set, and adds.
func TestWrapperKeepsWhatTheFunctionHasSet(t *testing.T) {
	t.Parallel()
	needs(t, "sh", "-c", "true")
	for _, tt := range []struct {
		env  []string
		want []string
	}{
		{nil, []string{"HTTPS_PROXY=http://127.0.0.1:3128", "https_proxy=http://127.0.0.1:3128", "HTTP_PROXY=http://127.0.0.1:3128", "http_proxy=http://127.0.0.1:3128",
			"NO_PROXY=127.0.0.1,localhost", "no_proxy=127.0.0.1,localhost", "NODE_USE_ENV_PROXY=1"}},
		{[]string{"AWS_LAMBDA_RUNTIME_API=169.254.100.1:9001", "EGRESS_NO_PROXY=.s3.eu-west-1.amazonaws.com", "NO_PROXY=10.0.0.1", "EGRESS_LISTEN=127.0.0.1:9999",
			"JAVA_TOOL_OPTIONS=-Xss1m", "NODE_OPTIONS=--enable-source-maps"},
			[]string{"NO_PROXY=127.0.0.1,localhost,169.254.100.1,.s3.eu-west-1.amazonaws.com,10.0.0.1", "HTTPS_PROXY=http://127.0.0.1:9999",
				"JAVA_TOOL_OPTIONS=-Xss1m -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=9999 -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=9999 -Dhttp.nonProxyHosts=127.0.0.1|localhost|169.254.100.1|*.s3.eu-west-1.amazonaws.com|10.0.0.1",
				"NODE_OPTIONS=--require ../../deploy/lambda/node.cjs --enable-source-maps"}},
	} {
		cmd := exec.Command("../../deploy/lambda/wrapper", "env")
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, tt.env...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range tt.want {
			if !strings.Contains("\n"+string(out), "\n"+want+"\n") {
				t.Errorf("with %q the runtime gets\n%s\nwant %s", tt.env, out, want)
			}
		}
	}
}
