// Command sts stands in for STS and the issuer of an account, so that identity by tokens
// of AWS can be tried without an account. It listens on loopback alone, makes keys when
// it starts, and gives whoever asks a token of one function or role:
//
//	sts -listen 127.0.0.1:8080 -account 111122223333 -function billing-webhook
//
// Functions find it by AWS_ENDPOINT_URL_STS, and the proxy by the issuer of the policy
// file. With -token it prints one token for that audience and goes on serving.
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/standin"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address on loopback; it is the issuer's URL too")
	number := flag.String("account", "111122223333", "number of the account")
	region := flag.String("region", "eu-west-1", "region of the function")
	function := flag.String("function", "", "name of the Lambda function that tokens are of")
	role := flag.String("role", "task", "path and name of the role that tokens are of, where there is no function")
	audience := flag.String("token", "", "print a token for this audience first")
	flag.Parse()
	if err := serve(*listen, *number, *audience, standin.Caller{Region: *region, Function: *function, Role: *role}); err != nil {
		fmt.Fprintln(os.Stderr, "sts:", err)
		os.Exit(1)
	}
}

// serve listens and answers until the process ends.
func serve(listen, number, audience string, c standin.Caller) error {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	if !listener.Addr().(*net.TCPAddr).IP.IsLoopback() {
		return fmt.Errorf("%s is not on loopback: whoever reaches it gets a token", listen)
	}
	issuer, err := standin.New(number, "http://"+listener.Addr().String())
	if err != nil {
		return err
	}
	if audience != "" {
		claimed := issuer.Role(c.Role, audience, time.Now(), 15*time.Minute)
		if c.Function != "" {
			claimed = issuer.Function(c.Region, c.Function, audience, time.Now(), 15*time.Minute)
		}
		fmt.Println(issuer.Token(claimed))
	}
	server := &http.Server{Handler: issuer.Handler(c), ReadHeaderTimeout: 5 * time.Second}
	if err := server.Serve(listener); err != nil {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}
