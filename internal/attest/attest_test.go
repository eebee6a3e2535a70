package attest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/attest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/standin"
)

const (
	audience = "https://egress.example.internal"
	ours     = "111122223333"
	theirs   = "999988887777"
	arn      = "arn:aws:lambda:eu-west-1:111122223333:function:billing"
)

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// issuers is what the tests verify by: our account's issuer, one of another account that
// is trusted too, and one of an account that is not.
type issuers struct {
	ours, theirs, stranger *standin.Issuer
	trust                  *attest.Trust
}

// made are the issuers with their first keys, which are made once.
var made = sync.OnceValue(func() (all [3]*standin.Issuer) {
	for n, of := range [3][2]string{{ours, "https://ours.example"}, {theirs, "https://theirs.example"}, {ours, "https://stranger.example"}} {
		i, err := standin.New(of[0], of[1])
		if err != nil {
			panic(err)
		}
		all[n] = i
	}
	return all
})

// world makes the issuers. Both trusted ones have a key called RSA_1.
func world() issuers {
	all := made()
	w := issuers{ours: all[0].Clone(), theirs: all[1].Clone(), stranger: all[2].Clone()}
	w.trust = &attest.Trust{
		Audience: audience, Algorithms: []string{attest.RS256}, MaxLifetime: 15 * time.Minute,
		Accounts: []attest.Account{
			{ID: ours, Issuer: w.ours.URL, Organization: "o-abc"},
			{ID: theirs, Issuer: w.theirs.URL},
		},
	}
	return w
}

// keys returns the keys of the trusted issuers as they are now.
func (w issuers) keys(issuer string) *attest.Keys {
	for _, i := range []*standin.Issuer{w.ours, w.theirs} {
		if i.URL == issuer {
			k, _ := attest.ParseKeys(i.JWKS())
			return k
		}
	}
	return nil
}

// function returns the claims of a token that holds, changed.
func (w issuers) function(change ...func(c, aws standin.Members)) standin.Members {
	c := w.ours.Function("eu-west-1", "billing", audience, noon, 5*time.Minute)
	for _, f := range change {
		f(c, c[standin.AWS].(standin.Members))
	}
	return c
}

// set returns a change that sets a claim; nil: it is taken out.
func set(name string, value any) func(c, aws standin.Members) {
	return func(c, _ standin.Members) { assign(c, name, value) }
}

// setAWS is set for a claim of STS.
func setAWS(name string, value any) func(c, aws standin.Members) {
	return func(_, aws standin.Members) { assign(aws, name, value) }
}

func assign(m standin.Members, name string, value any) {
	if m[name] = value; value == nil {
		delete(m, name)
	}
}

// raw is JSON that is written as it is.
func raw(s string) json.RawMessage { return json.RawMessage(s) }

func TestTokensOfAWSHold(t *testing.T) {
	w := world()
	for _, row := range []struct {
		why     string
		claimed standin.Members
		arn     string
	}{
		{"a function", w.function(), arn},
		{"a task, by its role", w.ours.Role("team/task", audience, noon, 5*time.Minute), "arn:aws:iam::111122223333:role/team/task"},
		{"an audience among others", w.function(set("aud", []string{"https://other", audience})), arn},
		{"the longest life that is allowed", w.ours.Function("eu-west-1", "billing", audience, noon, 15*time.Minute), arn},
		{"a clock of the issuer that is a minute ahead", w.function(set("iat", noon.Add(time.Minute).Unix())), arn},
		{"tags that are named like claims", w.function(setAWS("request_tags", standin.Members{
			"aws_account": theirs, "lambda_source_function_arn": "arn:aws:lambda:eu-west-1:111122223333:function:admin", "org_id": "o-other"})), arn},
		{"a task whose session has tags that are named like claims", tagged(w.ours.Role("team/task", audience, noon, 5*time.Minute)), "arn:aws:iam::111122223333:role/team/task"},
		{"an id of the first and the last mark that prints", w.function(set("jti", "!~")), arn},
		{"the longest id", w.function(set("jti", strings.Repeat("j", 128))), arn},
		{"claims that are not known", w.function(set("nonce", "x"), setAWS("ou_path", []string{"o-abc/r-x/ou-y"})), arn},
	} {
		o := attest.Verify(w.ours.Token(row.claimed), w.trust, w.keys, noon)
		p := o.Principal
		if o.Result != attest.Verified || p.ARN != row.arn || p.Account != ours || p.Issuer != w.ours.URL || p.TokenID != row.claimed["jti"] || p.Role != row.claimed["sub"] {
			t.Errorf("%s: %v, %+v", row.why, o.Result, p)
		}
		if p.Expires.Unix() != row.claimed["exp"] {
			t.Errorf("%s: it expires at %v", row.why, p.Expires)
		}
	}
}

// tagged returns claims whose session and request have tags that are named like claims of
// STS, and a claim beside them that is named like one.
func tagged(c standin.Members) standin.Members {
	tags := standin.Members{"aws_account": theirs, "lambda_source_function_arn": arn, "org_id": "o-other", "sub": arn}
	c["lambda_source_function_arn"] = arn
	assign(c[standin.AWS].(standin.Members), "principal_tags", tags)
	assign(c[standin.AWS].(standin.Members), "request_tags", tags)
	return c
}

// A clock of ours that is five minutes off takes less, and nothing that is over by the
// issuer's clock for longer than it is off.
func TestClockThatIsFiveMinutesOff(t *testing.T) {
	w := world()
	long, short := w.ours.Token(w.ours.Function("eu-west-1", "billing", audience, noon, 15*time.Minute)), w.ours.Token(w.function())
	for _, row := range []struct {
		why   string
		token string
		now   time.Time
		want  attest.Result
	}{
		{"ahead, of a token that has just come", long, noon.Add(5 * time.Minute), attest.Verified},
		{"ahead, of one that lives as long", short, noon.Add(5 * time.Minute), attest.Expired},
		{"behind, of a token that has just come", long, noon.Add(-5 * time.Minute), attest.NotYetIssued},
		{"behind, of one that is over since then", short, noon, attest.Verified},
		{"behind, of one that is over for longer", short, noon.Add(5 * time.Minute), attest.Expired},
	} {
		if o := attest.Verify(row.token, w.trust, w.keys, row.now); o.Result != row.want {
			t.Errorf("%s: %v, want %v", row.why, o.Result, row.want)
		}
	}
}

// A key that is replaced under the same name is another key: what the old one has signed
// holds no more, and what the new one signs does.
func TestKeyThatIsReplacedUnderTheSameName(t *testing.T) {
	w := world()
	before := w.ours.Token(w.function())
	w.ours.Set(standin.Key{ID: "RSA_1", Algorithm: "RS256", Private: w.theirs.Key("RS256").Private})
	for token, want := range map[string]attest.Result{before: attest.BadSignature, w.ours.Token(w.function()): attest.Verified} {
		if o := attest.Verify(token, w.trust, w.keys, noon); o.Result != want {
			t.Errorf("%v, want %v", o.Result, want)
		}
	}
	w.ours.Withdraw("RSA_1")
	if o := attest.Verify(before, w.trust, w.keys, noon); o.Result != attest.NoKeys {
		t.Errorf("the key is gone: %v", o.Result)
	}
}

func TestClaimsThatDoNotHoldAreRefused(t *testing.T) {
	w := world()
	end := noon.Add(5 * time.Minute).Unix()
	other := "arn:aws:lambda:eu-west-1:999988887777:function:billing"
	for _, row := range []struct {
		why    string
		change func(c, aws standin.Members)
		want   attest.Result
	}{
		{"for somebody else", set("aud", "https://other"), attest.WrongAudience},
		{"a list without ours", set("aud", []string{"https://other", audience + "/"}), attest.WrongAudience},
		{"an empty list", set("aud", []string{}), attest.WrongAudience},
		{"a list that is not of texts alone", set("aud", []any{audience, 1}), attest.WrongAudience},
		{"no audience", set("aud", nil), attest.WrongAudience},
		{"an audience that is null", set("aud", raw("null")), attest.WrongAudience},
		{"over", set("exp", noon.Unix()), attest.Expired},
		{"over for a second", set("exp", noon.Add(-time.Second).Unix()), attest.Expired},
		{"no end", set("exp", nil), attest.Malformed},
		{"no begin", set("iat", nil), attest.Malformed},
		{"issued in the future", set("iat", noon.Add(61*time.Second).Unix()), attest.NotYetIssued},
		{"a clock that is five minutes off", set("iat", noon.Add(5*time.Minute).Unix()), attest.NotYetIssued},
		{"a second over the longest life", set("iat", end-15*60-1), attest.TooLong},
		{"an end before its begin", func(c, _ standin.Members) { c["iat"], c["exp"] = noon.Unix()+50, noon.Unix()+20 }, attest.TooLong},
		{"no life at all", func(c, _ standin.Members) { c["iat"], c["exp"] = noon.Unix()+20, noon.Unix()+20 }, attest.TooLong},
		{"a negative end", set("exp", -1), attest.Malformed},
		{"an end of zero", set("exp", 0), attest.Malformed},
		{"an end with a fraction", set("exp", raw("1796040300.5")), attest.Malformed},
		{"an end with an exponent", set("exp", raw("1.7960403e9")), attest.Malformed},
		{"an end at 2^63", set("exp", raw("9223372036854775808")), attest.Malformed},
		{"an end at 2^64 and more, which wraps", set("exp", raw("18446744075505591916")), attest.Malformed},
		{"an end of eleven digits", set("exp", raw("99999999999")), attest.TooLong},
		{"an end of twelve", set("exp", raw("100000000000")), attest.Malformed},
		{"an end as a text", set("exp", "1796040300"), attest.Malformed},
		{"a begin that is negative", set("iat", -5), attest.Malformed},
		{"a begin with a fraction", set("iat", raw("1796040000.5")), attest.Malformed},
		{"a begin at 2^63", set("iat", raw("9223372036854775808")), attest.Malformed},
		{"a begin at zero, and an end that is a day away", func(c, _ standin.Members) { c["iat"], c["exp"] = 0, noon.Add(24*time.Hour).Unix() }, attest.Malformed},
		{"a begin of long ago", set("iat", 1), attest.TooLong},
		{"no id", set("jti", nil), attest.Malformed},
		{"an id that is no text", set("jti", 5), attest.Malformed},
		{"an id that does not print", set("jti", "a\nb"), attest.Malformed},
		{"an id with a space", set("jti", "a b"), attest.Malformed},
		{"an id with a DEL", set("jti", "a\x7f"), attest.Malformed},
		{"an id that is too long", set("jti", strings.Repeat("j", 129)), attest.Malformed},
		{"an issuer that is not known", set("iss", "https://stranger.example"), attest.UnknownIssuer},
		{"the same with a slash", set("iss", "https://ours.example/"), attest.UnknownIssuer},
		{"no issuer", set("iss", nil), attest.UnknownIssuer},
		{"the issuer of another account, with a key of the same name", set("iss", "https://theirs.example"), attest.BadSignature},
		{"another account in the claims", setAWS("aws_account", theirs), attest.WrongAccount},
		{"no account", setAWS("aws_account", nil), attest.WrongAccount},
		{"a function of another account", setAWS("lambda_source_function_arn", other), attest.WrongAccount},
		{"a role of another account", set("sub", "arn:aws:iam::999988887777:role/x"), attest.WrongAccount},
		{"no claims of STS", set(standin.AWS, nil), attest.WrongAccount},
		{"another organization", setAWS("org_id", "o-other"), attest.WrongOrganization},
		{"no organization", setAWS("org_id", nil), attest.WrongOrganization},
		{"a function with a version", setAWS("lambda_source_function_arn", arn+":7"), attest.NoPrincipal},
		{"a function with an alias", setAWS("lambda_source_function_arn", arn+":live"), attest.NoPrincipal},
		{"a function of another partition and account", setAWS("lambda_source_function_arn", "arn:aws-cn:lambda:cn-north-1:999988887777:function:billing"), attest.WrongAccount},
		{"a function that stands in the tags alone of what is no role", func(c, a standin.Members) {
			delete(a, "lambda_source_function_arn")
			a["principal_tags"], c["sub"] = standin.Members{"lambda_source_function_arn": arn}, arn
		}, attest.NoPrincipal},
		{"a function with a star", setAWS("lambda_source_function_arn", "arn:aws:lambda:eu-west-1:111122223333:function:b*"), attest.NoPrincipal},
		{"a role in the place of the function", setAWS("lambda_source_function_arn", "arn:aws:iam::111122223333:role/x"), attest.NoPrincipal},
		{"a function that is empty does not fall back to the role", setAWS("lambda_source_function_arn", ""), attest.NoPrincipal},
		{"nor one that is null", setAWS("lambda_source_function_arn", raw("null")), attest.NoPrincipal},
		{"nor one that is a list", setAWS("lambda_source_function_arn", []string{arn}), attest.NoPrincipal},
		{"a user", set("sub", "arn:aws:iam::111122223333:user/x"), attest.NoPrincipal},
		{"a session of a role", set("sub", "arn:aws:sts::111122223333:assumed-role/x/y"), attest.NoPrincipal},
		{"the function in the place of the role", set("sub", arn), attest.NoPrincipal},
		{"nobody", set("sub", nil), attest.NoPrincipal},
		{"a name in another case is another claim", func(c, _ standin.Members) { c["AUD"] = c["aud"]; delete(c, "aud") }, attest.WrongAudience},
	} {
		if o := attest.Verify(w.ours.Token(w.function(row.change)), w.trust, w.keys, noon); o.Result != row.want || o.Principal.ARN != "" {
			t.Errorf("%s: %v, %+v; want %v", row.why, o.Result, o.Principal, row.want)
		}
	}
	if o := attest.Verify(w.theirs.Token(w.theirs.Function("eu-west-1", "billing", audience, noon, time.Minute)), w.trust, w.keys, noon); o.Result != attest.Verified {
		t.Errorf("the other account's own token: %v", o.Result)
	}
	foreign := w.function(set("iss", w.theirs.URL))
	if o := attest.Verify(w.theirs.Token(foreign), w.trust, w.keys, noon); o.Result != attest.WrongAccount {
		t.Errorf("another account's issuer that names our function: %v", o.Result)
	}
}

// What stands in a header is the attacker's to choose.
func TestForgedHeadersAreRefused(t *testing.T) {
	w := world()
	attacker, _ := standin.New(ours, w.ours.URL)
	good, bad := w.ours.Key("RS256"), attacker.Key("RS256")
	der, _ := x509.MarshalPKIXPublicKey(good.Private.Public())
	head := func(change standin.Members) standin.Members {
		h := standin.Members{"alg": "RS256", "kid": "RSA_1", "typ": "JWT"}
		maps.Copy(h, change)
		return h
	}
	es := w.ours.Key("ES384")
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err := w.theirs.Rotate(); err != nil {
		t.Fatal(err)
	}
	another := w.theirs.Key("RS256") // RSA_2, which our account does not have
	for _, row := range []struct {
		why   string
		token string
		want  attest.Result
	}{
		{"no algorithm", unsigned(head(standin.Members{"alg": "none"}), w.function()), attest.Malformed},
		{"no algorithm, and a signature", standin.Sign(good, head(standin.Members{"alg": "none"}), w.function()), attest.BadAlgorithm},
		{"none in another case", standin.Sign(good, head(standin.Members{"alg": "NONE"}), w.function()), attest.BadAlgorithm},
		{"HS256 with the public key as the secret", standin.SignHMAC(der, head(standin.Members{"alg": "HS256"}), w.function()), attest.BadAlgorithm},
		{"the same that says RS256", standin.SignHMAC(der, head(nil), w.function()), attest.BadSignature},
		{"RS512", standin.Sign(good, head(standin.Members{"alg": "RS512"}), w.function()), attest.BadAlgorithm},
		{"PS256", standin.Sign(good, head(standin.Members{"alg": "PS256"}), w.function()), attest.BadAlgorithm},
		{"ES384 where RS256 is listed", standin.Sign(es, head(standin.Members{"alg": "ES384", "kid": es.ID}), w.function()), attest.BadAlgorithm},
		{"RS256 with the name of the other key", standin.Sign(good, head(standin.Members{"kid": es.ID}), w.function()), attest.BadAlgorithm},
		{"ES384 with the name of the RSA key", standin.Sign(es, head(standin.Members{"alg": "ES384"}), w.function()), attest.BadAlgorithm},
		{"a curve that is not listed", standin.Sign(standin.Key{Private: p256}, head(standin.Members{"alg": "ES256"}), w.function()), attest.BadAlgorithm},
		{"a key that is not known", standin.Sign(good, head(standin.Members{"kid": "RSA_9"}), w.function()), attest.UnknownKey},
		{"a key that another account has alone", standin.Sign(another, head(standin.Members{"kid": another.ID}), w.function()), attest.UnknownKey},
		{"another account's key by the name that both have", standin.Sign(another, head(nil), w.function()), attest.BadSignature},
		{"no key", standin.Sign(good, standin.Members{"alg": "RS256"}, w.function()), attest.UnknownKey},
		{"a key that is a path", standin.Sign(good, head(standin.Members{"kid": "../../RSA_1"}), w.function()), attest.UnknownKey},
		{"a key that is a number", standin.Sign(good, head(standin.Members{"kid": 1}), w.function()), attest.Malformed},
		{"an attacker's key of the same name", standin.Sign(bad, head(nil), w.function()), attest.BadSignature},
		{"an attacker's key in the header", standin.Sign(bad, head(standin.Members{"jwk": bad.Public()}), w.function()), attest.BadSignature},
		{"an attacker's set", standin.Sign(bad, head(standin.Members{"jku": "https://attacker.example/jwks.json"}), w.function()), attest.BadSignature},
		{"an attacker's certificate", standin.Sign(bad, head(standin.Members{"x5u": "https://attacker.example/x.pem"}), w.function()), attest.BadSignature},
		{"an attacker's certificate in the header", standin.Sign(bad, head(standin.Members{"x5c": []string{"MIIB"}}), w.function()), attest.BadSignature},
		{"what has to be understood", standin.Sign(good, head(standin.Members{"crit": []string{"exp"}}), w.function()), attest.Critical},
		{"what go-jose would understand", standin.Sign(good, head(standin.Members{"crit": []string{"b64"}, "b64": true}), w.function()), attest.Critical},
		{"an empty list of it", standin.Sign(good, head(standin.Members{"crit": []string{}}), w.function()), attest.Critical},
		{"another type", standin.Sign(good, head(standin.Members{"typ": "at+jwt"}), w.function()), attest.Malformed},
		{"a stranger with our account", w.stranger.Token(w.stranger.Function("eu-west-1", "billing", audience, noon, time.Minute)), attest.UnknownIssuer},
	} {
		if o := attest.Verify(row.token, w.trust, w.keys, noon); o.Result != row.want || o.Principal.ARN != "" {
			t.Errorf("%s: %v, %+v; want %v", row.why, o.Result, o.Principal, row.want)
		}
	}
	// The keys that a header brings are not read: a token that the issuer has signed holds
	// whatever it points at.
	if o := attest.Verify(standin.Sign(good, head(standin.Members{"jku": "https://attacker.example/"}), w.function()), w.trust, w.keys, noon); o.Result != attest.Verified {
		t.Errorf("the issuer's own token that points somewhere: %v", o.Result)
	}
	both := *w.trust
	both.Algorithms = []string{attest.RS256, attest.ES384}
	if o := attest.Verify(standin.Sign(es, standin.Members{"alg": "ES384", "kid": es.ID}, w.function()), &both, w.keys, noon); o.Result != attest.Verified {
		t.Errorf("ES384 where it is listed: %v", o.Result)
	}
}

// unsigned returns a token with an empty signature.
func unsigned(header, claimed standin.Members) string {
	h, _ := json.Marshal(header)
	c, _ := json.Marshal(claimed)
	return base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(c) + "."
}

func TestFormOfATokenIsStrict(t *testing.T) {
	w := world()
	k := w.ours.Key("RS256")
	good := w.ours.Token(w.function())
	parts := strings.Split(good, ".")
	header, claimed := []byte(`{"alg":"RS256","kid":"RSA_1"}`), string(must(json.Marshal(w.function())))
	with := func(old, replaced string) string {
		changed := strings.Replace(claimed, old, replaced, 1)
		if changed == claimed {
			t.Fatalf("no %s in the claims", old)
		}
		return standin.SignBytes(k, header, []byte(changed))
	}
	for _, row := range []struct {
		why, token string
		want       attest.Result
	}{
		{"nothing", "", attest.Malformed},
		{"two dots", "..", attest.Malformed},
		{"two parts", parts[0] + "." + parts[1], attest.Malformed},
		{"four parts", good + "." + parts[2], attest.Malformed},
		{"five parts, as encrypted ones have", good + ".a.b", attest.Malformed},
		{"padding", parts[0] + "=." + parts[1] + "." + parts[2], attest.Malformed},
		{"space before it", " " + good, attest.Malformed},
		{"space behind it", good + " ", attest.Malformed},
		{"a line end in it", parts[0] + ".\r\n" + parts[1] + "." + parts[2], attest.Malformed},
		{"a line end behind it", good + "\n", attest.Malformed},
		{"base64 that is not of URLs", parts[0] + "." + parts[1] + "." + strings.Repeat("+/", 171), attest.Malformed},
		{"a second spelling of the last byte", good[:len(good)-1] + respell(good[len(good)-1]), attest.Malformed},
		{"a token as JSON", `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, attest.Malformed},
		{"8 KiB and a byte", sized(w, attest.MaxToken+1), attest.Malformed},
		{"a header that is a list", standin.SignBytes(k, []byte(`["RS256"]`), []byte(claimed)), attest.Malformed},
		{"claims that are no object", standin.SignBytes(k, header, []byte(`"x"`)), attest.Malformed},
		{"claims that are null", standin.SignBytes(k, header, []byte(`null`)), attest.Malformed},
		{"claims that are a list with one name twice", standin.SignBytes(k, header, []byte(`["a",1,"a",2]`)), attest.Malformed},
		{"something behind the claims", standin.SignBytes(k, header, []byte(claimed+"{}")), attest.Malformed},
		{"claims that end early", standin.SignBytes(k, header, []byte(claimed[:len(claimed)-1])), attest.Malformed},
		{"bytes that are no text", with(`"iss"`, `"i\xff":1,"iss"`), attest.Malformed},
		{"the algorithm twice", standin.SignBytes(k, []byte(`{"alg":"RS256","kid":"RSA_1","alg":"none"}`), []byte(claimed)), attest.Duplicate},
		{"the audience twice", with(`"aud"`, `"aud":"https://other","aud"`), attest.Duplicate},
		{"the account twice", with(`"aws_account"`, `"aws_account":"999988887777","aws_account"`), attest.Duplicate},
		{"the same by an escape", with(`"exp"`, `"\u0065xp":99999999999,"exp"`), attest.Duplicate},
		{"what is not read twice, deep down", with(`"iss"`, `"x":[{"a":{"b":1,"b":2}}],"iss"`), attest.Duplicate},
	} {
		if o := attest.Verify(row.token, w.trust, w.keys, noon); o.Result != row.want || o.Principal.ARN != "" {
			t.Errorf("%s: %v, %+v; want %v", row.why, o.Result, o.Principal, row.want)
		}
	}
	if o := attest.Verify(sized(w, attest.MaxToken), w.trust, w.keys, noon); o.Result != attest.Verified {
		t.Errorf("8 KiB: %v", o.Result)
	}
	if o := attest.Verify(good, w.trust, w.keys, noon); o.Result != attest.Verified {
		t.Errorf("the token that the others are made of: %v", o.Result)
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// respell returns another base64url digit that has the same upper bits: RS256 signatures
// of 256 bytes leave four bits of the last digit unused.
func respell(last byte) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(digits[strings.IndexByte(digits, last)^1])
}

// sized returns a token that holds and has so many bytes.
func sized(w issuers, n int) string {
	bare := len(w.ours.Token(w.function(set("filler", ""))))
	for filler := (n-bare)*3/4 + 8; ; filler-- {
		token := w.ours.Token(w.function(set("filler", strings.Repeat("f", filler))))
		if len(token) == n {
			return token
		}
		if len(token) < n { // base64 leaves some lengths out; the header's length shifts them
			k := w.ours.Key("RS256")
			for pad := 0; pad < 8; pad++ {
				token = standin.Sign(k, standin.Members{"alg": "RS256", "kid": k.ID, "x": strings.Repeat("p", pad)},
					w.function(set("filler", strings.Repeat("f", filler))))
				if len(token) == n {
					return token
				}
			}
		}
	}
}

func TestZeroValuesTrustNobody(t *testing.T) {
	w := world()
	token := w.ours.Token(w.function())
	none := func(string) *attest.Keys { return nil }
	for why, row := range map[string]struct {
		trust *attest.Trust
		keys  func(string) *attest.Keys
		want  attest.Result
	}{
		"nil":     {nil, w.keys, attest.BadAlgorithm},
		"zero":    {&attest.Trust{}, w.keys, attest.BadAlgorithm},
		"no keys": {w.trust, none, attest.NoKeys},
		"no audience": {&attest.Trust{Algorithms: w.trust.Algorithms, MaxLifetime: time.Hour, Accounts: w.trust.Accounts},
			w.keys, attest.WrongAudience},
		"no lifetime": {&attest.Trust{Audience: audience, Algorithms: w.trust.Algorithms, Accounts: w.trust.Accounts}, w.keys, attest.TooLong},
	} {
		if o := attest.Verify(token, row.trust, row.keys, noon); o.Result != row.want || o.Principal.ARN != "" {
			t.Errorf("%s: %v; want %v", why, o.Result, row.want)
		}
	}
	empty := w.function(set("aud", ""))
	if o := attest.Verify(w.ours.Token(empty), &attest.Trust{Algorithms: w.trust.Algorithms, MaxLifetime: time.Hour, Accounts: w.trust.Accounts}, w.keys, noon); o.Result != attest.WrongAudience {
		t.Errorf("no audience, and a token for nobody: %v", o.Result)
	}
	if (attest.Outcome{}).Result == attest.Verified {
		t.Error("the zero Outcome holds")
	}
}

func TestKeysThatAreNotForTokensAreLeftOut(t *testing.T) {
	w := world()
	good := w.ours.Key("RS256").Public()
	small := standin.Key{ID: "small", Private: mustRSA(1024)}.Public()
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	curve := standin.Key{ID: "p256", Private: p256}.Public()
	changed := func(of standin.Members, name string, value any) standin.Members {
		m := maps.Clone(of)
		m[name] = value
		return m
	}
	for _, row := range []struct {
		why  string
		keys []standin.Members
		want int // keys; 0: an error
	}{
		{"AWS's", []standin.Members{good, w.ours.Key("ES384").Public()}, 2},
		{"none", nil, 0},
		{"RSA of 1024 bits", []standin.Members{small}, 0},
		{"RSA of 2047 bits", []standin.Members{sizedRSA(2047)}, 0},
		{"RSA of 2048 bits", []standin.Members{sizedRSA(2048)}, 1},
		{"RSA of 4096 bits", []standin.Members{sizedRSA(4096)}, 1},
		{"RSA of 4097 bits", []standin.Members{sizedRSA(4097)}, 0},
		{"the same beside a good one", []standin.Members{small, good}, 1},
		{"P-256", []standin.Members{curve, good}, 1},
		{"a type that there is not", []standin.Members{{"kty": "XYZ", "kid": "x"}, good}, 1},
		{"a shared secret", []standin.Members{{"kty": "oct", "kid": "x", "k": "c2VjcmV0"}}, 0},
		{"for encryption", []standin.Members{changed(good, "use", "enc")}, 0},
		{"for another algorithm", []standin.Members{changed(good, "alg", "RS512")}, 0},
		{"for the other key's algorithm", []standin.Members{changed(good, "alg", "ES384")}, 0},
		{"without a name", []standin.Members{changed(good, "kid", "")}, 0},
		{"the same twice", []standin.Members{good, good}, 1},
		{"two with one name", []standin.Members{good, changed(w.theirs.Key("RS256").Public(), "kid", good["kid"])}, 0},
		{"a private one", []standin.Members{changed(changed(good, "kid", "p"), "d", "AQAB"), good}, 1},
	} {
		b, _ := json.Marshal(standin.Members{"keys": row.keys})
		k, err := attest.ParseKeys(b)
		if k.Len() != row.want || (err == nil) != (row.want > 0) {
			t.Errorf("%s: %d keys, %v; want %d", row.why, k.Len(), err, row.want)
		}
	}
	if good["alg"] != nil {
		t.Error("the key that stands for AWS's has alg, which AWS's has not")
	}
	for why, text := range map[string]string{
		"nothing": "", "HTML": "<!doctype html>", "a list": "[]", "no keys": "{}", "null": `{"keys":null}`, "keys that are no list": `{"keys":{}}`,
		"keys, and then none": string(w.ours.JWKS()[:len(w.ours.JWKS())-1]) + `,"keys":5}`,
		"1 MiB and a byte":    filled(w, attest.MaxKeys+1),
	} {
		if k, err := attest.ParseKeys([]byte(text)); k != nil || err == nil {
			t.Errorf("%s: %v, %v", why, k, err)
		}
	}
	if k, err := attest.ParseKeys([]byte(filled(w, attest.MaxKeys))); k.Len() != 2 || err != nil {
		t.Errorf("1 MiB: %d keys, %v", k.Len(), err)
	}
}

// filled returns a set of good keys that has so many bytes.
func filled(w issuers, n int) string {
	set := string(w.ours.JWKS())
	return set[:1] + strings.Repeat(" ", n-len(set)) + set[1:]
}

// sizedRSA returns a public key with a modulus of so many bits, which nobody could sign with.
func sizedRSA(bits uint) standin.Members {
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	return standin.Key{ID: "sized", Private: &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537}}}.Public()
}

// mustRSA makes a key that crypto/rsa would not make any more.
func mustRSA(bits int) *rsa.PrivateKey {
	p, _ := rand.Prime(rand.Reader, bits/2)
	q, _ := rand.Prime(rand.Reader, bits/2)
	return &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537}, Primes: []*big.Int{p, q}}
}

func TestARNs(t *testing.T) {
	for s, want := range map[string]attest.ARN{
		arn: {Function: true, Partition: "aws", Region: "eu-west-1", Account: ours, Name: "billing"},
		"arn:aws-us-gov:lambda:us-gov-west-1:111122223333:function:a_B-9": {Function: true, Partition: "aws-us-gov", Region: "us-gov-west-1", Account: ours, Name: "a_B-9"},
		"arn:aws:iam::111122223333:role/x":                                {Partition: "aws", Account: ours, Path: "/", Name: "x"},
		"arn:aws:iam::111122223333:role/a/b/x+=,.@-_1":                    {Partition: "aws", Account: ours, Path: "/a/b/", Name: "x+=,.@-_1"},
		"": {}, "arn": {}, arn + ":1": {}, arn + ":$LATEST": {}, arn + " ": {}, arn + "*": {}, "ARN" + arn[3:]: {},
		"arn:aws:lambda:eu-west-1:111122223333:function:":                           {},
		"arn:aws:lambda:eu-west-1:111122223333:layer:x":                             {},
		"arn:aws:lambda::111122223333:function:x":                                   {},
		"arn:aws:lambda:eu-west-1:11112222333:function:x":                           {},
		"arn::lambda:eu-west-1:111122223333:function:x":                             {},
		"arn:aws:iam:eu-west-1:111122223333:role/x":                                 {},
		"arn:aws:iam::111122223333:role/":                                           {},
		"arn:aws:iam::111122223333:role/a/":                                         {},
		"arn:aws:iam::111122223333:role//x":                                         {},
		"arn:aws:iam::111122223333:user/x":                                          {},
		"arn:aws:sts::111122223333:assumed-role/x/y":                                {},
		"arn:aws:lambda:eu-west-1:111122223333:function:" + strings.Repeat("f", 65): {},
	} {
		if s == "arn:aws:iam::111122223333:role//x" {
			want = attest.ARN{} // the path "/" and an empty part
		}
		if got, ok := attest.ParseARN(s); ok != (want != attest.ARN{}) || ok && got != want {
			t.Errorf("%s: %+v, %v; want %+v", s, got, ok, want)
		}
	}
	for s, want := range map[string]bool{
		"arn:aws:lambda:eu-west-1:111122223333:function:b*": true, "arn:aws:lambda:eu-west-1:111122223333:function:*": true,
		"arn:aws:iam::111122223333:role/team/*": true, "arn:aws:iam::111122223333:role/*": true,
		"arn:aws:lambda:eu-west-1:111122223333:function:*b": false, "arn:aws:lambda:*": false, "arn:aws:lambda:eu-west-1:*": false,
		"arn:aws:iam::111122223333:role/*/x": false, "*": false, "arn:aws:lambda:eu-west-1:111122223333:function:b**": false,
	} {
		if _, exact, ok := attest.ParsePattern(s); ok != want || exact && ok {
			t.Errorf("pattern %s: exact %v, %v; want %v", s, exact, ok, want)
		}
	}
}

// Each part of an ARN has some bytes and no others, which are written out here.
func TestBytesThatThePartsOfAnARNMayHave(t *testing.T) {
	const (
		digits = "0123456789"
		words  = "abcdefghijklmnopqrstuvwxyz" + digits + "-"
		names  = words + "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"
	)
	printing := ""
	for b := byte('!'); b <= '~'; b++ {
		if b != '*' && b != '"' && b != '\\' {
			printing += string(rune(b))
		}
	}
	for part, row := range map[string]struct{ before, after, may string }{
		"partition": {"arn:a", "s:iam::111122223333:role/x", words},
		"region":    {"arn:aws:lambda:eu", "west:111122223333:function:x", words},
		"account":   {"arn:aws:iam::11112222333", ":role/x", digits},
		"function":  {"arn:aws:lambda:eu-west-1:111122223333:function:x", "y", names},
		"role":      {"arn:aws:iam::111122223333:role/x", "y", names + "+=,.@/"}, // behind a slash is the name
		"path":      {"arn:aws:iam::111122223333:role/x", "y/z", printing},
	} {
		for b := range 256 {
			one := string([]byte{byte(b)})
			if _, ok := attest.ParseARN(row.before + one + row.after); ok != strings.Contains(row.may, one) {
				t.Errorf("%s: the byte %q: %v", part, one, ok)
			}
		}
	}
	function, role := "arn:aws:lambda:eu-west-1:111122223333:function:", "arn:aws:iam::111122223333:role/"
	for s, want := range map[string]bool{
		function + strings.Repeat("f", 64):                       true,
		function + strings.Repeat("f", 65):                       false,
		role + strings.Repeat("r", 640-len(role)):                true,
		role + strings.Repeat("r", 641-len(role)):                false,
		"arn:aws:iam::11112222333:role/x":                        false,
		"arn:aws:iam::1111222233334:role/x":                      false,
		"arn:aws:lambda:eu-west-1:111122223333:function:x/y":     false,
		"arn:aws:lambda:eu-west-1:111122223333:event-source:x":   false,
		"arn:aws:s3:eu-west-1:111122223333:function:x":           false,
		"arn:aws:iam::111122223333:instance-profile/x":           false,
		"arn:aws:lambda:eu-west-1:111122223333:function:x:y:z:w": false,
	} {
		if _, ok := attest.ParseARN(s); ok != want {
			t.Errorf("%q, of %d bytes: %v", s, len(s), ok)
		}
	}
}

func digest(token string) attest.Digest { return sha256.Sum256([]byte(token)) }

func TestRememberedTokenHoldsUntilItsEndAndByItsKeyAlone(t *testing.T) {
	w := world()
	token := w.ours.Token(w.function())
	d := digest(token)
	c := attest.NewCache(10)
	outcome := attest.Verify(token, w.trust, w.keys, noon)
	if p := c.Add(d, w.trust, outcome); p == nil || p.ARN != arn {
		t.Fatalf("add: %+v of %v", p, outcome.Result)
	}
	again := *w.trust // another load of the same file
	tight := *w.trust
	tight.Audience = "https://other"
	for _, row := range []struct {
		why   string
		trust *attest.Trust
		now   time.Time
		want  bool
	}{
		{"at once", w.trust, noon, true},
		{"behind a load that changes nothing", &again, noon, true},
		{"behind one that changes the audience", &tight, noon, false},
		{"with nothing trusted", nil, noon, false},
		{"a second before its end", w.trust, noon.Add(5*time.Minute - time.Second), true},
		{"at its end", w.trust, noon.Add(5 * time.Minute), false},
	} {
		if p := c.Get(d, row.trust, w.keys, row.now); (p != nil) != row.want {
			t.Errorf("%s: %+v", row.why, p)
		}
	}
	if c.Get(d, w.trust, func(string) *attest.Keys { return nil }, noon) != nil {
		t.Error("there are no keys, and it holds")
	}
	var none *attest.Keys
	if none.Find("RSA_1") != nil || none.Len() != 0 {
		t.Error("no keys have one")
	}
	if c.Get(digest("other"), w.trust, w.keys, noon) != nil {
		t.Error("another token is remembered")
	}
	keys := w.keys(w.ours.URL)
	if n := testing.AllocsPerRun(100, func() { c.Get(d, w.trust, func(string) *attest.Keys { return keys }, noon) }); n != 0 {
		t.Errorf("a look allocates %v times", n)
	}
	_ = w.ours.Rotate()
	if c.Get(d, w.trust, w.keys, noon) == nil {
		t.Error("a new key beside it ends it")
	}
	w.ours.Withdraw("RSA_1")
	if c.Get(d, w.trust, w.keys, noon) != nil {
		t.Error("its key is gone, and it holds")
	}
	replaced := w.theirs.Key("RS256")
	w.ours.Set(standin.Key{ID: "RSA_1", Algorithm: "RS256", Private: replaced.Private})
	if c.Get(d, w.trust, w.keys, noon) != nil {
		t.Error("its key was replaced under the same name, and it holds")
	}
}

// What is trusted now has to be all that was trusted when the token was verified.
func TestRememberedTokenHoldsByTheSameTrustAlone(t *testing.T) {
	w := world()
	token := w.ours.Token(w.function())
	c := attest.NewCache(10)
	c.Add(digest(token), w.trust, attest.Verify(token, w.trust, w.keys, noon))
	account := func(change func(*attest.Account)) func(*attest.Trust) {
		return func(t *attest.Trust) {
			t.Accounts = slices.Clone(t.Accounts)
			change(&t.Accounts[0])
		}
	}
	for why, change := range map[string]func(*attest.Trust){
		"another audience":               func(t *attest.Trust) { t.Audience = "https://other" },
		"a shorter life":                 func(t *attest.Trust) { t.MaxLifetime-- },
		"another algorithm":              func(t *attest.Trust) { t.Algorithms = []string{attest.ES384} },
		"the account has another id":     account(func(a *attest.Account) { a.ID = theirs }),
		"the account has another issuer": account(func(a *attest.Account) { a.Issuer = "https://other" }),
		"another organization":           account(func(a *attest.Account) { a.Organization = "o-other" }),
		"an account is gone":             func(t *attest.Trust) { t.Accounts = t.Accounts[:1] },
	} {
		now := *w.trust
		if c.Get(digest(token), &now, w.keys, noon) == nil {
			t.Fatal("the same trust, written anew, does not do")
		}
		if change(&now); c.Get(digest(token), &now, w.keys, noon) != nil {
			t.Errorf("%s, and the token is remembered", why)
		}
	}
}

func TestIssuerIsTrustedForItsOwnAccount(t *testing.T) {
	w := world()
	nameless := attest.Trust{Accounts: []attest.Account{{ID: ours}}}
	for _, row := range []struct {
		trust           *attest.Trust
		issuer, account string
		want            bool
	}{
		{w.trust, w.ours.URL, ours, true}, {w.trust, w.theirs.URL, theirs, true},
		{w.trust, w.ours.URL, theirs, false}, {w.trust, w.stranger.URL, ours, false}, {w.trust, "", ours, false},
		{nil, w.ours.URL, ours, false}, {nil, "", "", false}, {&attest.Trust{}, w.ours.URL, ours, false}, {&nameless, "", ours, false},
	} {
		if got := row.trust.Issues(row.issuer, row.account); got != row.want {
			t.Errorf("%q for %s: %v", row.issuer, row.account, got)
		}
	}
	nameless.Audience, nameless.Algorithms, nameless.MaxLifetime = audience, []string{attest.RS256}, time.Hour
	if o := attest.Verify(w.ours.Token(w.function(set("iss", nil))), &nameless, w.keys, noon); o.Result != attest.UnknownIssuer {
		t.Errorf("no issuer, and an account without one: %v", o.Result)
	}
}

func TestCacheIsBoundedAndRemembersWhatHoldsAlone(t *testing.T) {
	w := world()
	c := attest.NewCache(3)
	keys, _ := attest.ParseKeys(w.ours.JWKS())
	find := func(string) *attest.Keys { return keys }
	var all []attest.Digest
	for n := range 10 {
		token := w.ours.Token(w.function())
		d := digest(token)
		all = append(all, d)
		c.Add(d, w.trust, attest.Verify(token, w.trust, find, noon))
		c.Add(d, w.trust, attest.Verify(token, w.trust, find, noon))
		if want := min(n+1, 3); c.Len() != want {
			t.Fatalf("%d tokens are remembered, want %d", c.Len(), want)
		}
	}
	for n, d := range all {
		if got := c.Get(d, w.trust, find, noon) != nil; got != (n >= 7) {
			t.Errorf("token %d is remembered: %v", n, got)
		}
	}
	if c.Add(all[0], w.trust, attest.Outcome{}) != nil || c.Get(all[0], w.trust, find, noon) != nil {
		t.Error("a token that does not hold is remembered")
	}
	c.Sweep(w.trust, find, noon.Add(time.Hour))
	if c.Len() != 0 {
		t.Errorf("%d tokens that are over stay", c.Len())
	}
	for range 4 {
		token := w.ours.Token(w.function())
		c.Add(digest(token), w.trust, attest.Verify(token, w.trust, find, noon))
	}
	if c.Len() != 3 {
		t.Errorf("%d tokens behind a sweep, want 3", c.Len())
	}
	token := w.ours.Token(w.function())
	held := attest.Verify(token, w.trust, find, noon)
	for why, none := range map[string]*attest.Cache{"the zero Cache": {}, "a cache of none": attest.NewCache(0)} {
		if p := none.Add(digest(token), w.trust, held); p == nil || none.Len() != 0 || none.Get(digest(token), w.trust, find, noon) != nil {
			t.Errorf("%s remembers %d tokens, or does not say whom one names", why, none.Len())
		}
	}
	if c.Add(all[0], w.trust, attest.Outcome{Result: attest.Verified}) != nil {
		t.Error("what no key has signed is remembered")
	}
}

// FuzzVerify has no token hold that the issuer has not signed, and no principal without
// one that holds.
func FuzzVerify(f *testing.F) {
	w := world()
	keys, _ := attest.ParseKeys(w.ours.JWKS())
	find := func(string) *attest.Keys { return keys }
	token := w.ours.Token(w.function())
	for _, seed := range []string{token, "", "..", "eyJ.eyJ.x", token + ".", unsigned(standin.Members{"alg": "none"}, w.function()),
		w.stranger.Token(w.function()), standin.SignHMAC([]byte("x"), standin.Members{"alg": "HS256"}, w.function())} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		o := attest.Verify(s, w.trust, find, noon)
		if (o.Result == attest.Verified) != (s == token) {
			t.Fatalf("%q: %v", s, o.Result)
		}
		if o.Result != attest.Verified && (o.Principal.ARN != "" || o.Principal.TokenID != "") {
			t.Fatalf("%q: %v, %+v", s, o.Result, o.Principal)
		}
	})
}

// FuzzParseKeys takes no set that has no key, and no key that it does not find by a name.
func FuzzParseKeys(f *testing.F) {
	w := world()
	good := string(w.ours.JWKS())
	for _, seed := range []string{good, "", "{}", "[]", `{"keys":[]}`, `{"keys":[{}]}`, `{"keys":[null]}`, `{"keys":[{"kty":"RSA","kid":"x","n":"AQAB","e":"AQAB"}]}`,
		strings.Replace(good, "RSA_1", "EC384_1", 1), strings.Replace(good, `"use":"sig"`, `"use":"enc"`, 1), `{"keys":[{"kty":"oct","kid":"x","k":"eA"}]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := attest.ParseKeys(b)
		if (err == nil) != (k.Len() > 0) || (err == nil) != (k != nil) || k.Find("") != nil {
			t.Fatalf("%d keys, %v", k.Len(), err)
		}
	})
}

// FuzzARN takes no ARN but what its parts are written as again.
func FuzzARN(f *testing.F) {
	for _, seed := range []string{arn, arn + ":7", arn + "*", "arn:aws:iam::111122223333:role/a/b", "arn:aws:iam::111122223333:role/*", "arn:::::", "arn:aws:iam::111122223333:role/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if a, ok := attest.ParseARN(s); ok && written(a) != s {
			t.Fatalf("%q is %+v, which is %q", s, a, written(a))
		}
		a, exact, ok := attest.ParsePattern(s)
		if _, whole := attest.ParseARN(s); ok && exact != whole {
			t.Fatalf("%q is exact %v", s, exact)
		}
		if star := map[bool]string{false: "*"}[exact]; ok && written(a)+star != s {
			t.Fatalf("pattern %q is %+v", s, a)
		}
	})
}

// written is an ARN as it is written.
func written(a attest.ARN) string {
	if a.Function {
		return "arn:" + a.Partition + ":lambda:" + a.Region + ":" + a.Account + ":function:" + a.Name
	}
	return "arn:" + a.Partition + ":iam::" + a.Account + ":role" + a.Path + a.Name
}

// BenchmarkVerify measures one token that holds, and one whose signature does not.
func BenchmarkVerify(b *testing.B) {
	w := world()
	keys, _ := attest.ParseKeys(w.ours.JWKS())
	find := func(string) *attest.Keys { return keys }
	good := w.ours.Token(w.function())
	c := attest.NewCache(10)
	c.Add(digest(good), w.trust, attest.Verify(good, w.trust, find, noon))
	for name, token := range map[string]string{"holds": good, "signature": w.stranger.Token(w.function())} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				attest.Verify(token, w.trust, find, noon)
			}
		})
	}
	b.Run("remembered", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if c.Get(digest(good), w.trust, find, noon) == nil {
				b.Fatal("it is not")
			}
		}
	})
}

// Metrics and the log name what has failed: each check has a word of its own.
func TestEachResultHasAWord(t *testing.T) {
	seen := map[string]attest.Result{}
	all := attest.Results()
	for _, r := range all {
		word := r.String()
		if first, taken := seen[word]; taken || word == "" || strings.Trim(word, "abcdefghijklmnopqrstuvwxyz_") != "" {
			t.Errorf("%d has the word %q, as has %d", uint8(r), word, uint8(first))
		}
		seen[word] = r
	}
	if len(all) != int(attest.Verified)+1 || attest.Verified.String() != "verified" {
		t.Errorf("%d results, the last is %v", len(all), attest.Verified)
	}
	if got := (attest.Verified + 1).String(); got != "result_16" {
		t.Errorf("what is no result is %q", got)
	}
}

func TestSecretThatLooksLikeAToken(t *testing.T) {
	for secret, want := range map[string]bool{
		"eyJ.a.b": true, "eyJhbGciOiJub25lIn0.eyJ9.": true,
		"": false, "eyJ": false, "eyJ.a": false, "eyJ.a.b.c": false, "a.b.c": false, "xeyJ.a.b": false,
	} {
		if got := attest.LooksLikeToken(secret); got != want {
			t.Errorf("%q: %v", secret, got)
		}
	}
}
