// Command freeze counts the requests that pooled clients lose to a freeze: without a
// proxy, by the proxy directly, and by the extension, which is stopped and continued
// together with the client.
//
//	go run ./benchmarks/freeze [-clients go,requests] [-frozen 1s,3s] [-connections 200] [-event 100ms]
//
// What it does: for each kind of client it opens so many connections at once, stops the
// client and its extension by SIGSTOP, continues them by SIGCONT in either order, and has
// the client make as many requests again. The origin closes connections that are idle for
// two seconds, the proxy tunnels that are for five.
//
// What it does not do: it freezes no kernel. Sockets go on receiving while a process is
// stopped, which Lambda's do not.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// options are the flags.
type options struct {
	clients, frozen, out string
	connections          int
	event                time.Duration
	verbose              bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "-client" {
		if err := serveAsClient(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	var o options
	flag.StringVar(&o.clients, "clients", "go,requests,boto3,undici,sdk,java", "words of the names of clients, by commas")
	flag.StringVar(&o.frozen, "frozen", "1s,3s,8s,20s", "how long, by commas")
	flag.IntVar(&o.connections, "connections", 200, "how many each client has")
	flag.DurationVar(&o.event, "event", 100*time.Millisecond, "how long behind the thaw there is work for the client")
	flag.BoolVar(&o.verbose, "verbose", false, "show what clients say of their failures")
	flag.StringVar(&o.out, "out", "benchmarks/results/freeze.md", "where the table goes; -: standard output")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run measures all cells and writes the table.
func run(o options) error {
	dir, err := os.MkdirTemp("", "freeze")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer os.RemoveAll(dir)
	preload, err := filepath.Abs("deploy/lambda/node.cjs")
	if err != nil {
		return fmt.Errorf("looking for the preload: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("looking for this program: %w", err)
	}
	s := &site{files: files{dir: dir, self: self, preload: preload}, extension: filepath.Join(dir, "egress")}
	for name, folder := range map[string]string{"proxy": "./cmd/proxy", "egress": "./cmd/extension"} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, name), folder).CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w: %s", name, err, out)
		}
	}
	certificate, err := authority(dir)
	if err != nil {
		return err
	}
	if err := s.write(); err != nil {
		return err
	}
	cells, err := o.cells()
	if err != nil {
		return err
	}
	var ports []int
	for _, c := range cells {
		if c.origin, err = newOrigin(certificate); err != nil {
			return err
		}
		ports = append(ports, c.origin.port)
	}
	proxy, err := s.startProxy(filepath.Join(dir, "proxy"), ports)
	if err != nil {
		return err
	}
	defer proxy.Stop()
	s.freezeAll(cells, o.connections)
	return o.write(cells)
}

// cells returns what is to be measured, the shortest freezes first.
func (o options) cells() (all []*cell, err error) {
	some := available(o.clients, os.Stderr)
	for text := range strings.SplitSeq(o.frozen, ",") {
		frozen, err := time.ParseDuration(text)
		if err != nil {
			return nil, fmt.Errorf("reading -frozen: %w", err)
		}
		for _, c := range some {
			for way := range ways {
				for _, clientFirst := range []bool{true, false} {
					all = append(all, &cell{client: c, event: o.event, verbose: o.verbose, frozen: frozen, way: way, clientFirst: clientFirst})
				}
			}
		}
	}
	return all, nil
}
