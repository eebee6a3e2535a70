package source

import (
	"net/http"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// The clients of this file are for the program's own control plane alone: where
// its configuration comes from, and the credentials to read it with. Where they
// go is said by whoever starts the program, and no caller of the proxy has a say
// in it. They take no proxy from the environment, because the program may be
// what the environment names. What a call may take in all is its context's.

// newClient makes the client for HTTP servers. It follows no redirect: what is
// at another place has to be named there.
func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:               nil,
			TLSHandshakeTimeout: 5 * time.Second,
			IdleConnTimeout:     30 * time.Second,
			// The limit of size is one of bytes on the wire too.
			DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// newSDKClient makes the client of the AWS SDK, for S3 and for credentials. It
// is of the SDK's own kind because the SDK puts AWS_CA_BUNDLE into no other.
func newSDKClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.Proxy = nil })
}
