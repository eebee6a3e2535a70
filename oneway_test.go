package repo

import (
	"go/ast"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// An egress controller has one egress. These files may open connections: the
// first two dial checked addresses for clients, the third asks DNS upstreams.
var waysOut = []string{"internal/egress/egress.go", "internal/egress/loop_linux.go", "internal/resolve/upstream/transport.go"}

// connector is the file by which the second of waysOut connects. It checks
// nothing, so nobody else may call it.
const connector = "internal/reactor/calls_linux.go"

// forbidden are the names by which Go code can open a connection or look a name
// up without being one of the ways out, by import path.
var forbidden = map[string]*regexp.Regexp{
	"net":                   regexp.MustCompile(`^(Dial.*|Lookup.*|Resolve.*Addr|DefaultResolver|Resolver)$`),
	"net/http":              regexp.MustCompile(`^(Get|Head|Post|PostForm|DefaultClient|DefaultTransport|Client)$`),
	"crypto/tls":            regexp.MustCompile(`^Dial.*$`),
	"syscall":               regexp.MustCompile(`^(Connect|Sendto)$`),
	"golang.org/x/sys/unix": regexp.MustCompile(`^(Connect|Sendto|Sendmsg|SYS_CONNECT)$`),
	reactorPath:             regexp.MustCompile(`^Connect$`),
	"github.com/miekg/dns":  regexp.MustCompile(`^(Client|Dial.*|Exchange.*)$`),
	sdkHTTP:                 regexp.MustCompile(`^NewBuildableClient$`),
}

// sdk is the AWS SDK, which opens connections by itself; sdkHTTP is how it does.
const (
	sdk     = "github.com/aws/"
	sdkHTTP = "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// reactorPath is the package of connector.
const reactorPath = module + "/internal/reactor"

// ownHealth may use an http.Client and a transport of its own: it is the
// container's health check, a process that is not the proxy, and asks the admin
// listener of the same machine alone. No client has a say in where it goes.
const ownHealth = "internal/healthcheck/healthcheck.go"

// controlPlane may make clients too: they read the policy itself, where it is no
// file, and the task's credentials for that. Whoever starts the program says
// where they go, with --config and the SDK's variables; no client has a say in
// it, and no request of a client leads there.
const controlPlane = "internal/source/client.go"

// issuerKeys may make a client as well: it fetches the keys that tokens of AWS are verified
// by. The policy file says where it goes, and no token has a say in it.
const issuerKeys = "internal/attestkeys/client.go"

// extensionDials and extensionSTS are another program, the Lambda extension, which is no
// gate. The first dials the proxy and Lambda's own API, as the function's settings say,
// and the second gives the AWS SDK its client; neither dials a target of a client.
const (
	extensionDials = "internal/extension/dial/dial.go"
	extensionSTS   = "internal/extension/stsclient/stsclient.go"
)

// postureReader makes the clients of cmd/posture, a program of its own that reads AWS
// accounts. The gate does not have it (TestTheProxyHasNoClientOfThePosture).
const postureReader = "internal/posture/reader/client.go"

// postureProbe dials what somebody who starts posture probe, in the same program, wants to be
// tried; the gate does not have it either.
const postureProbe = "internal/posture/probe/attempt/dial.go"

// postureFunction speaks to Lambda's Runtime API, where posture probe is a function. The
// library has a client of its own, for the one address that Lambda gives it.
const postureFunction = "cmd/posture/probe_lambda.go"

// aside reports whether a file that is no way out for clients may use a name that
// is otherwise forbidden.
func aside(file, from, name string) bool {
	switch from {
	case "golang.org/x/sys/unix":
		return name == "SYS_CONNECT" && file == connector
	case "net":
		return name == "Dialer" && (file == extensionDials || file == postureProbe)
	case "net/http":
		return name == "Client" && (file == ownHealth || file == controlPlane || file == issuerKeys || file == extensionDials || file == "internal/extension/lambdaapi/lambdaapi.go")
	case sdkHTTP:
		return file == controlPlane || file == extensionSTS || file == postureReader
	default:
		return false
	}
}

// The SDK dials by itself wherever it is given no client.
func TestAWSSDKIsUsedWhereItIsNamedAloneAndWithTheirClients(t *testing.T) {
	t.Parallel()
	loads := 0
	for _, s := range sources(t) {
		if strings.HasPrefix(s.name, "benchmarks/") {
			continue
		}
		imports := importNames(s.file)
		for _, from := range imports {
			dir := path.Dir(s.name)
			if named := dir == path.Dir(controlPlane) || dir == path.Dir(postureReader) || s.name == extensionSTS ||
				s.name == postureFunction && from == sdk+"aws-lambda-go/lambda"; strings.HasPrefix(from, sdk) && !named {
				t.Errorf("%s imports %s; only %s, %s and %s may, and %s aws-lambda-go", s.name, from, path.Dir(controlPlane), path.Dir(postureReader), extensionSTS, postureFunction)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || !isSelector(call.Fun, imports, sdk+"aws-sdk-go-v2/config", "LoadDefaultConfig") {
				return true
			}
			loads++
			if !slices.ContainsFunc(call.Args, func(arg ast.Expr) bool { return givesOwnClient(arg, imports) }) {
				t.Errorf("%s:%d: the SDK is given no client of ours", s.name, s.line(call.Pos()))
			}
			return true
		})
	}
	if loads == 0 {
		t.Error("the SDK is not configured anywhere; the check looks for the wrong thing")
	}
}

// The clients with which posture reads an account are a way to talk to all of AWS, and
// larger than the gate: it has none of them.
func TestTheProxyHasNoClientOfThePosture(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", "./cmd/proxy").Output()
	if err != nil {
		t.Fatal(err)
	}
	// S3 reads the policy; the others are how the SDK comes by credentials.
	services, found := []string{"internal", "s3", "signin", "sso", "ssooidc", "sts"}, map[string]bool{}
	for dep := range strings.Lines(string(out)) {
		dep = strings.TrimSpace(dep)
		if strings.HasPrefix(dep, module+"/internal/posture") {
			t.Errorf("cmd/proxy has %s", dep)
		}
		if service, ok := strings.CutPrefix(dep, sdk+"aws-sdk-go-v2/service/"); ok {
			service, _, _ = strings.Cut(service, "/")
			if found[service] = true; !slices.Contains(services, service) {
				t.Errorf("cmd/proxy has a client of %s", service)
			}
		}
	}
	if !found["s3"] {
		t.Error("cmd/proxy has no client of S3; the check looks for the wrong thing")
	}
}

// givesOwnClient reports whether an argument is config.WithHTTPClient(newSDKClient()).
func givesOwnClient(arg ast.Expr, imports map[string]string) bool {
	call, ok := arg.(*ast.CallExpr)
	if !ok || len(call.Args) != 1 || !isSelector(call.Fun, imports, sdk+"aws-sdk-go-v2/config", "WithHTTPClient") {
		return false
	}
	client, ok := call.Args[0].(*ast.CallExpr)
	if !ok {
		return false
	}
	name, ok := client.Fun.(*ast.Ident)
	return ok && name.Name == "newSDKClient"
}

func TestConnectionsAreOpenedInThreeFilesAlone(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, s := range sources(t) {
		if strings.HasPrefix(s.name, "benchmarks/") || path.Dir(s.name) == forTests {
			continue
		}
		imports := importNames(s.file)
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			from := imports[pkg.Name]
			switch re := forbidden[from]; {
			case re == nil || !re.MatchString(sel.Sel.Name):
			case slices.Contains(waysOut, s.name):
				seen[s.name] = true
			case aside(s.name, from, sel.Sel.Name):
			default:
				t.Errorf("%s:%d: %s.%s opens a connection or looks a name up; only %v may", s.name, s.line(sel.Pos()), from, sel.Sel.Name, waysOut)
			}
			return true
		})
	}
	for _, name := range waysOut {
		if !seen[name] {
			t.Errorf("%s opens no connection; take it off the list", name)
		}
	}
}

// A transport without a DialContext dials by itself, and one without a Proxy
// key leaves open what it does with the environment.
func TestEveryTransportHasADialOfItsOwnAndNoProxy(t *testing.T) {
	t.Parallel()
	found := 0
	for _, s := range sources(t) {
		if strings.HasPrefix(s.name, "benchmarks/") {
			continue
		}
		imports := importNames(s.file)
		ast.Inspect(s.file, func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if !ok || !isSelector(lit.Type, imports, "net/http", "Transport") {
				return true
			}
			found++
			keys := literalKeys(lit)
			if proxy, ok := keys["Proxy"].(*ast.Ident); !ok || proxy.Name != "nil" {
				t.Errorf("%s:%d: the transport does not say Proxy: nil", s.name, s.line(lit.Pos()))
			}
			if keys["DialContext"] == nil && s.name != ownHealth && s.name != controlPlane && s.name != issuerKeys {
				t.Errorf("%s:%d: the transport has no DialContext", s.name, s.line(lit.Pos()))
			}
			return true
		})
	}
	if found == 0 {
		t.Error("no transport found; the check looks for the wrong thing")
	}
}

// goproxysPublicKey are the names of goproxy that are, or sign with, the authority
// whose private key is in its source. OkConnect and RejectConnect hold it too.
var goproxysPublicKey = regexp.MustCompile(`^(GoproxyCa|CA_CERT|CA_KEY|TLSConfigFromCA|\w*Mitm\w*|\w+Connect|CertStorage)$`)

func TestGoproxysPublicKeyIsNotUsed(t *testing.T) {
	t.Parallel()
	used := 0
	for _, s := range sources(t) {
		imports := importNames(s.file)
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := sel.X.(*ast.Ident); ok && imports[pkg.Name] == "github.com/elazarl/goproxy" {
				used++
				if goproxysPublicKey.MatchString(sel.Sel.Name) {
					t.Errorf("%s:%d: goproxy.%s signs with a key that everybody has", s.name, s.line(sel.Pos()), sel.Sel.Name)
				}
			}
			return true
		})
	}
	if used == 0 {
		t.Error("goproxy is used nowhere; take the note out of SECURITY.md, and this test")
	}
}

// importNames returns the import paths of a file by the name they have in it.
func importNames(f *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range f.Imports {
		from := strings.Trim(spec.Path.Value, `"`)
		name := path.Base(from)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = from
	}
	return names
}

// isSelector reports whether an expression is name of the package from.
func isSelector(e ast.Expr, imports map[string]string, from, name string) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	pkg, ok := sel.X.(*ast.Ident)
	return ok && imports[pkg.Name] == from
}

// literalKeys returns the values of a composite literal by their keys.
func literalKeys(lit *ast.CompositeLit) map[string]ast.Expr {
	keys := map[string]ast.Expr{}
	for _, e := range lit.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			if id, ok := kv.Key.(*ast.Ident); ok {
				keys[id.Name] = kv.Value
			}
		}
	}
	return keys
}
