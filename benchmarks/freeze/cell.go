package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/process"
)

// The ways of a request, in the order of the table.
const (
	without = iota
	direct
	extended
	ways
)

// cell is one freeze of one client.
type cell struct {
	client      client
	event       time.Duration // from the thaw until there is work
	verbose     bool          // what the client says of its failures is shown
	frozen      time.Duration
	way         int
	clientFirst bool    // it thaws before the extension
	origin      *origin // of its own

	lost int
	err  error
}

// atOnce is how many cells are frozen at the same time.
const atOnce = 12

// attempts is how often a cell is tried of which the connections cannot be opened: on a busy
// machine the proxy finds idle what waits for the last of them.
const attempts = 3

// freezeAll measures the cells. Several are frozen at the same time; one at a time opens its
// connections, or thaws. A freeze that is shorter than the origin's patience has nobody
// beside it, so that it stays as short.
func (s *site) freezeAll(cells []*cell, connections int) {
	var active sync.Mutex
	var done sync.WaitGroup
	places := make(chan struct{}, atOnce)
	for _, c := range cells {
		places <- struct{}{}
		done.Go(func() {
			defer func() { <-places }()
			for range attempts {
				if c.lost, c.err = s.freeze(c, connections, &active); c.err == nil {
					break
				}
			}
			if c.err != nil {
				fmt.Fprintf(os.Stderr, "%s, %v: %v\n", c.client.name, c.frozen, c.err)
			} else if c.verbose {
				fmt.Fprintf(os.Stderr, "%s, %v, way %d, client first %v: %d lost\n", c.client.name, c.frozen, c.way, c.clientFirst, c.lost)
			}
		})
	}
	done.Wait()
}

// freeze measures one cell.
func (s *site) freeze(c *cell, connections int, active *sync.Mutex) (lost int, err error) {
	active.Lock()
	held := true
	defer func() {
		if held {
			active.Unlock()
		}
	}()
	proxy, extension, err := s.wayOf(c)
	if err != nil {
		return 0, err
	}
	if extension != nil {
		defer extension.Stop()
	}
	c.origin.hold(connections)
	p, err := s.startClient(c, connections, proxy)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	if failed, err := p.result(); err != nil {
		return 0, fmt.Errorf("opening the connections: %w", err)
	} else if failed > 0 {
		return 0, fmt.Errorf("opening the connections: %d failed", failed)
	}
	stopped := []func(syscall.Signal) error{p.signal}
	if extension != nil {
		stopped = append(stopped, extension.Signal)
	}
	for _, signal := range stopped {
		if err := signal(syscall.SIGSTOP); err != nil {
			return 0, fmt.Errorf("stopping: %w", err)
		}
	}
	if c.frozen >= originIdle {
		active.Unlock()
		held = false
	}
	time.Sleep(c.frozen)
	if !held {
		active.Lock()
		held = true
	}
	return p.thaw(stopped, c)
}

// wayOf returns the URL of the proxy that a cell's client has, "" for none, and the
// extension behind it, nil where there is none.
func (s *site) wayOf(c *cell) (proxy string, extension *process.Process, err error) {
	switch c.way {
	case direct:
		return "http://" + s.plain, nil, nil
	case extended:
		extension, at, err := s.startExtension()
		return "http://" + at, extension, err
	default:
		return "", nil, nil
	}
}

// running is a client as a process.
type running struct {
	cmd *exec.Cmd
	in  *os.File
	out *bufio.Reader
}

// startClient starts the client of a cell.
func (s *site) startClient(c *cell, connections int, proxy string) (*running, error) {
	command := append(c.client.command(&s.files), fmt.Sprintf("https://localhost:%d/", c.origin.port), strconv.Itoa(connections), proxy)
	cmd := exec.Command(command[0], command[1:]...)
	ca := s.path("ca.pem")
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+ca, "REQUESTS_CA_BUNDLE="+ca, "AWS_CA_BUNDLE="+ca, "NODE_EXTRA_CA_CERTS="+ca, "NODE_NO_WARNINGS=1",
		"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=a", "AWS_REGION=eu-west-1", "AWS_DEFAULT_REGION=eu-west-1", "https_proxy="+proxy)
	if c.verbose {
		cmd.Stderr = os.Stderr
	}
	from, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe: %w", err)
	}
	cmd.Stdin = from
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe: %w", err)
	}
	err = cmd.Start()
	_ = from.Close() // the client has its own
	if err != nil {
		_ = in.Close() // nobody reads it
		return nil, fmt.Errorf("starting %s: %w", c.client.name, err)
	}
	return &running{cmd, in, bufio.NewReader(out)}, nil
}

// signal sends a signal to the client.
func (p *running) signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// thaw continues all, in this order or the other, tells the client that there is work,
// and returns how many requests it lost.
func (p *running) thaw(stopped []func(syscall.Signal) error, c *cell) (lost int, err error) {
	for i := range stopped {
		if !c.clientFirst {
			i = len(stopped) - 1 - i
		}
		if err := stopped[i](syscall.SIGCONT); err != nil {
			return 0, fmt.Errorf("continuing: %w", err)
		}
	}
	time.Sleep(c.event)
	if _, err := p.in.WriteString("\n"); err != nil {
		return 0, fmt.Errorf("telling the client: %w", err)
	}
	return p.result()
}

// result reads how many requests failed.
func (p *running) result() (failed int, err error) {
	line, err := p.out.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("reading the client's result: %w", err)
	}
	return strconv.Atoi(strings.TrimSpace(line))
}

// stop ends the client.
func (p *running) stop() {
	_ = p.cmd.Process.Kill() // it has said what it had to, or has failed
	_ = p.cmd.Wait()
	_ = p.in.Close()
}
