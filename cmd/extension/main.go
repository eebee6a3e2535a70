// Command extension is the Lambda extension of the egress gate: the function's clients
// use it as a proxy on loopback, and it brings their requests to the gate with the token
// by which AWS says who the function is.
//
// What it does: without an argument it serves, as Lambda starts it. "doctor", called from
// within the function, says in words what is missing.
//
// What it does not do: it does nothing by itself; internal/extension does.
//
//	/opt/extensions/egress
//	/opt/extensions/egress doctor
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

// The exit codes of the program.
const (
	exitFailed = 1 // doctor: something is wrong
	exitUsage  = 2
)

func main() {
	os.Exit(execute(os.Args))
}

// execute runs one command line and returns the exit code.
func execute(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	switch {
	case len(args) == 2 && args[1] == "doctor":
		if !extension.Doctor(ctx, os.Getenv, os.Stdout) {
			return exitFailed
		}
	case len(args) == 1:
		extension.Run(ctx, extension.Options{Getenv: os.Getenv, Stderr: os.Stderr, Name: filepath.Base(args[0])})
	default:
		fmt.Fprintln(os.Stderr, "usage: extension [doctor]")
		return exitUsage
	}
	return 0
}
