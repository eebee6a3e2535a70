// Command extension is the Lambda extension of the egress gate: the function's clients
// use it as a proxy on loopback, and it brings their requests to the gate with the token
// by which AWS says who the function is.
//
// What it does: without an argument it serves, as Lambda starts it.
//
// What it does not do: it does nothing by itself; internal/extension does.
//
//	/opt/extensions/egress
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/extension"
)

// exitUsage is the exit code of a wrong command line.
const exitUsage = 2

func main() {
	if len(os.Args) > 1 {
		fmt.Fprintln(os.Stderr, "usage: extension")
		os.Exit(exitUsage)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	extension.Run(ctx, extension.Options{Getenv: os.Getenv, Stderr: os.Stderr, Name: filepath.Base(os.Args[0])})
}
