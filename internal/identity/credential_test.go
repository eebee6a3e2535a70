package identity

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// header is the value that a client sends for the user and the secret.
func header(plain string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(plain))
}

// shown is the credential of a header that must parse.
func shown(tb testing.TB, plain string) Credential {
	tb.Helper()
	c, err := ParseAuthorization(header(plain))
	if err != nil {
		tb.Fatalf("ParseAuthorization(%q): %v", header(plain), err)
	}
	return c
}

func TestAuthorizationThatIsAccepted(t *testing.T) {
	long, name := strings.Repeat("s", 512), strings.Repeat("f", 64)
	for _, tt := range []struct{ why, value, function, secret string }{
		{"as clients send it", header("billing:s3cret"), "billing", "s3cret"},
		{"lower-case scheme", "basic YTpi", "a", "b"},
		{"upper-case scheme", "BASIC YTpi", "a", "b"},
		{"two spaces", "Basic  YTpi", "a", "b"},
		{"many spaces", "Basic" + strings.Repeat(" ", 1000) + "YTpi", "a", "b"},
		{"two spaces before the longest name and secret", strings.Replace(header(name+":"+long), " ", "  ", 1), name, long},
		{"colons in the secret", header("a:b:c:"), "a", "b:c:"},
		{"every byte of a name", header("aZ09-._~:x"), "aZ09-._~", "x"},
		{"a space in the secret", header("a: "), "a", " "},
		{"longest name and secret", header(name + ":" + long), name, long},
	} {
		c, err := ParseAuthorization(tt.value)
		if err != nil || !c.IsSet() || c.String() != tt.function || c.token != sha256.Sum256([]byte(tt.secret)) {
			t.Errorf("%s: ParseAuthorization(%q) = %q, %v; want %q", tt.why, tt.value, c, err, tt.function)
		}
	}
}

func TestAuthorizationThatIsMalformed(t *testing.T) {
	for _, tt := range []struct{ why, value string }{
		{"empty", ""},
		{"scheme alone", "Basic"},
		{"scheme and space alone", "Basic "},
		{"another scheme", "Bearer YTpi"},
		{"tab", "Basic\tYTpi"},
		{"tab behind the space", "Basic \tYTpi"},
		{"no space", "BasicYTpi"},
		{"spaces alone", "Basic    "},
		{"space inside", "Basic YT pi"},
		{"leading space", " Basic YTpi"},
		{"trailing space", "Basic YTpi "},
		{"two values in one", "Basic YTpi, Basic YTpi"},
		{"not base64", "Basic !!!!"},
		{"line end inside", "Basic YT\r\npi"},
		{"line end behind", "Basic YTpi\n"},
		{"no padding", strings.TrimRight(header("a:bc"), "=")},
		{"stray bits behind the last byte", "Basic YTpiYx=="},
		{"url-safe alphabet", "Basic " + base64.URLEncoding.EncodeToString([]byte("a:b?>~~~?"))},
		{"no colon", header("billing")},
		{"no function", header(":secret")},
		{"no function, and another colon", header(":billing:secret")},
		{"no secret", header("billing:")},
		{"space in the name", header("bil ling:secret")},
		{"percent in the name", header("bil%20ling:secret")},
		{"NUL in the name", header("a\x00:b")},
		{"NUL in the secret", header("a:b\x00")},
		{"DEL in the secret", header("a:b\x7f")},
		{"UTF-8 in the secret", header("a:bé")},
		{"UTF-8 in the name", header("é:b")},
		{"name of 65 bytes", header(strings.Repeat("f", 65) + ":s")},
		{"secret of 513 bytes", header("a:" + strings.Repeat("s", 513))},
		{"text behind the longest value", header(strings.Repeat("f", 64)+":"+strings.Repeat("s", 512)) + "YTpi"},
		{"secret of a megabyte", header("a:" + strings.Repeat("s", 1<<20))},
	} {
		c, err := ParseAuthorization(tt.value)
		if !errors.Is(err, ErrMalformed) || c != (Credential{}) {
			t.Errorf("%s: ParseAuthorization = %v, %v; want none, ErrMalformed", tt.why, c, err)
		}
	}
}

// Of every byte: what a function's name may have, by ValidFunction and in a credential.
func TestNameOfAFunctionHasLettersDigitsAndFourMarks(t *testing.T) {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"
	for b := range 256 {
		name := "f" + string([]byte{byte(b)})
		want := strings.Contains(allowed, name[1:])
		if got := ValidFunction(name); got != want {
			t.Errorf("ValidFunction(%q) = %t", name, got)
		}
		c, err := ParseAuthorization(header(name + ":secret"))
		if ok := err == nil && c.String() == name; ok != want && b != ':' {
			t.Errorf("the credential of %q: %v, %v", name, c, err)
		}
	}
	if !ValidFunction(strings.Repeat("f", 64)) || ValidFunction(strings.Repeat("f", 65)) || ValidFunction("") {
		t.Error("a name has 1 to 64 bytes")
	}
}

// What is longer than any credential is refused before it is decoded.
func TestLongestValueIsThatOfTheLongestCredential(t *testing.T) {
	if longest := base64.StdEncoding.EncodedLen(64 + len(":") + 512); maxEncoded != longest {
		t.Errorf("a value may have %d bytes, want %d", maxEncoded, longest)
	}
}

func TestMalformedQuotesNothing(t *testing.T) {
	_, err := ParseAuthorization(header("billing:very secret\n"))
	if err == nil || strings.Contains(err.Error(), "billing") || strings.Contains(err.Error(), "secret\n") {
		t.Errorf("error %q quotes the header", err)
	}
}

func TestCredentialPrintsNoHash(t *testing.T) {
	if got := shown(t, "billing:s3cret").String(); got != "billing" {
		t.Errorf("String = %q, want the claimed name alone", got)
	}
}

func TestParseAuthorizationDoesNotAllocate(t *testing.T) {
	value := header(strings.Repeat("f", 64) + ":" + strings.Repeat("s", 512))
	huge := header("a:" + strings.Repeat("s", 1<<20))
	if n := testing.AllocsPerRun(100, func() {
		_, _ = ParseAuthorization(value)
		_, _ = ParseAuthorization(huge)
	}); n != 0 {
		t.Errorf("ParseAuthorization allocates %v times", n)
	}
}

// What every client sends as it is, and what the table takes by its hash alone.
func TestNewTokenIsTakenByItsHashAndIsAnotherEachTime(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		secret, hash := NewToken()
		if plain := strings.Trim(secret, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"); plain != "" || len(secret) != 43 || seen[secret] {
			t.Fatalf("%q has %q, or was there before", secret, plain)
		}
		seen[secret] = true
		table, err := New([]Entry{{Function: "billing", Tokens: []Token{hash}}})
		if err != nil {
			t.Fatal(err)
		}
		if id, err := table.Identify(Caller{Credential: shown(t, "billing:"+secret)}); err != nil || id.Function != "billing" {
			t.Fatalf("%q: %v, %v", secret, id, err)
		}
	}
}

func TestValidFunction(t *testing.T) {
	for name, want := range map[string]bool{
		"billing": true, "aZ09-._~": true, strings.Repeat("f", 64): true,
		"": false, "a b": false, "a:b": false, "é": false, "a%20": false, strings.Repeat("f", 65): false,
	} {
		if got := ValidFunction(name); got != want {
			t.Errorf("ValidFunction(%q) = %t, want %t", name, got, want)
		}
	}
}

// FuzzParseAuthorization compares with encoding/base64 and strings.Cut: what
// is accepted encodes back to the same bytes and splits the same way, and what
// is refused gives no credential.
func FuzzParseAuthorization(f *testing.F) {
	for _, seed := range []string{
		"", "Basic ", "Basic YTpi", "basic YTpi", "Basic  YTpi", "Basic\tYTpi", "Basic YTpiYx==", "Basic YT\npi",
		header("billing:s3cret"), header("a:b:c"), header(":b"), header("a:"), header("a\x00:b"), header("é:b"),
		header("a:" + strings.Repeat("s", 513)), header(strings.Repeat("f", 65) + ":s"),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		c, err := ParseAuthorization(value)
		if err != nil {
			if c.IsSet() || !errors.Is(err, ErrMalformed) {
				t.Fatalf("ParseAuthorization(%q) = %v, %v", value, c, err)
			}
			return
		}
		// One space or more behind the scheme is all that may differ.
		scheme, encoded, _ := strings.Cut(value, " ")
		encoded = strings.TrimLeft(encoded, " ")
		plain, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || !strings.EqualFold(scheme, "Basic") || header(string(plain)) != "Basic "+encoded {
			t.Fatalf("%q was accepted but encodes back to %q", value, header(string(plain)))
		}
		user, secret, found := strings.Cut(string(plain), ":")
		if !found || !ValidFunction(user) || c.String() != user || c.token != sha256.Sum256([]byte(secret)) || len(secret) > 512 {
			t.Fatalf("%q was accepted as %q; want %q", value, c, user)
		}
	})
}

// BenchmarkParseAuthorization measures one header of the usual size: base64,
// split and SHA-256. It leaves out reading the header from the wire.
func BenchmarkParseAuthorization(b *testing.B) {
	value := header("billing-webhook:0123456789abcdef0123456789abcdef")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseAuthorization(value); err != nil {
			b.Fatal(err)
		}
	}
}
