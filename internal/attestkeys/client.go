package attestkeys

import (
	"net/http"
	"time"
)

// newClient makes the client for issuers. It is of the program's own control plane: where
// it goes is said by the policy file alone, and no caller of the proxy has a say in it.
// The issuer of an account may have a private address, that of a VPC endpoint. It takes
// no proxy from the environment, because the program may be what the environment names,
// and follows no redirect: what is elsewhere is not the issuer's.
func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  nil,
			TLSHandshakeTimeout:    5 * time.Second,
			DisableCompression:     true, // the limit of size is one of bytes on the wire too
			DisableKeepAlives:      true, // once an hour
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
