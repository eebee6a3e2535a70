package standin

import (
	"encoding/json"
	"encoding/xml"
	"net/http"
	"strconv"
	"time"
)

// The paths of an issuer (OpenID Connect Discovery 1.0, section 4).
const (
	jwksPath      = "/.well-known/jwks.json"
	discoveryPath = "/.well-known/openid-configuration"
)

// Caller is what the token of a request is for. STS finds it out by the credentials that
// have signed the request; the stand-in takes what it is started with.
type Caller struct {
	Region   string
	Function string // the name of a Lambda function; "": the token is of Role alone
	Role     string // path and name of a role; "" with Function: one of the function's own
}

// Handler answers as STS does to GetWebIdentityToken, by POST to /, and as the issuer
// does by its two documents. Each token is for the caller.
func (i *Issuer) Handler(c Caller) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+jwksPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(i.JWKS())
	})
	mux.HandleFunc("GET "+discoveryPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(Members{
			"issuer": i.URL, "jwks_uri": i.URL + jwksPath, "response_types_supported": []string{"id_token"},
			"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256", "ES384"},
		})
	})
	mux.HandleFunc("POST /{$}", func(w http.ResponseWriter, r *http.Request) { i.giveToken(w, r, c) })
	return mux
}

// giveToken answers one request of the query protocol.
func (i *Issuer) giveToken(w http.ResponseWriter, r *http.Request, c Caller) {
	w.Header().Set("Content-Type", "text/xml")
	audience, algorithm := r.PostFormValue("Audience.member.1"), r.PostFormValue("SigningAlgorithm")
	life := 300
	if given := r.PostFormValue("DurationSeconds"); given != "" {
		life, _ = strconv.Atoi(given)
	}
	k := i.Key(algorithm)
	switch {
	case r.PostFormValue("Action") != "GetWebIdentityToken":
		fail(w, "InvalidAction")
		return
	case audience == "", life < 60 || life > 3600, k.Private == nil:
		fail(w, "ValidationError")
		return
	}
	now, lasts := time.Now(), time.Duration(life)*time.Second
	claimed := i.Role(c.Role, audience, now, lasts)
	if c.Function != "" {
		claimed = i.Function(c.Region, c.Function, audience, now, lasts)
	}
	_ = xml.NewEncoder(w).Encode(answer{
		Token:      Sign(k, Members{"alg": algorithm, "kid": k.ID, "typ": "JWT"}, claimed),
		Expiration: now.Add(lasts).UTC().Format(time.RFC3339),
	})
}

// answer is that of GetWebIdentityToken.
type answer struct {
	XMLName    xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetWebIdentityTokenResponse"`
	Token      string   `xml:"GetWebIdentityTokenResult>WebIdentityToken"`
	Expiration string   `xml:"GetWebIdentityTokenResult>Expiration"`
}

// fail answers an error of the query protocol.
func fail(w http.ResponseWriter, code string) {
	w.WriteHeader(http.StatusBadRequest)
	_ = xml.NewEncoder(w).Encode(struct {
		XMLName xml.Name `xml:"ErrorResponse"`
		Type    string   `xml:"Error>Type"`
		Code    string   `xml:"Error>Code"`
	}{Type: "Sender", Code: code})
}
