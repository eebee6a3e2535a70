package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"embed"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// scripts are the clients that are not in Go.
//
//go:embed clients
var scripts embed.FS

// client is one kind of pooled client, as its users have it. It is started with a URL, a
// number of connections and the URL of a proxy, or "". It makes as many requests at once,
// prints how many failed, waits for a line, and does the same again.
type client struct {
	name    string
	needs   []string // a command that succeeds where the client can be had
	command func(f *files) []string
}

// clients are all kinds.
var clients = []client{
	{"Go net/http", []string{"true"}, func(f *files) []string { return []string{f.self, "-client"} }},
	{"Python requests", []string{"python3", "-c", "import requests"}, func(f *files) []string { return []string{"python3", f.path("session.py")} }},
	{"Python boto3", []string{"python3", "-c", "import boto3"}, func(f *files) []string { return []string{"python3", f.path("s3.py")} }},
	{"Node undici", []string{"node", "-e", "require('undici')"}, func(f *files) []string { return []string{"node", f.path("node.cjs"), "undici"} }},
	{"Node AWS SDK v3", []string{"node", "-e", "require('@aws-sdk/client-s3')"}, func(f *files) []string { return []string{"node", "--require", f.preload, f.path("node.cjs"), "sdk"} }},
	{"Java HttpClient", []string{"javac", "-version"}, func(f *files) []string {
		return []string{"java", "-Xmx128m", "-cp", f.dir, "-Djavax.net.ssl.trustStore=" + f.path("trust.p12"), "-Djavax.net.ssl.trustStorePassword=changeit", "Client"}
	}},
}

// files are what clients are started from.
type files struct {
	dir     string // holds the scripts, ca.pem and trust.p12
	self    string // this program
	preload string // what the layer gives to Node
}

// path returns that of a file in dir.
func (f *files) path(name string) string { return filepath.Join(f.dir, name) }

// write writes all scripts, and prepares what Java needs where it is there.
func (f *files) write() error {
	entries, err := scripts.ReadDir("clients")
	if err != nil {
		return fmt.Errorf("reading the clients: %w", err)
	}
	for _, e := range entries {
		text, err := scripts.ReadFile("clients/" + e.Name())
		if err != nil {
			return fmt.Errorf("reading a client: %w", err)
		}
		if err := os.WriteFile(f.path(e.Name()), text, 0o600); err != nil {
			return fmt.Errorf("writing a client: %w", err)
		}
	}
	if _, err := exec.LookPath("javac"); err != nil {
		return nil
	}
	for _, command := range [][]string{
		{"javac", "-d", f.dir, f.path("Client.java")},
		{"keytool", "-importcert", "-noprompt", "-file", f.path("ca.pem"), "-keystore", f.path("trust.p12"), "-storetype", "PKCS12", "-storepass", "changeit"},
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", command[0], err, out)
		}
	}
	return nil
}

// available returns the clients whose names hold one of these, by commas, and says of the others
// that this machine has not what they need.
func available(names string, report io.Writer) (some []client) {
	for _, c := range clients {
		wanted := false
		for word := range strings.SplitSeq(names, ",") {
			wanted = wanted || strings.Contains(strings.ToLower(c.name), strings.ToLower(word))
		}
		if !wanted {
			continue
		}
		if err := exec.Command(c.needs[0], c.needs[1:]...).Run(); err != nil {
			fmt.Fprintf(report, "%s is not to be had: %s: %v\n", c.name, strings.Join(c.needs, " "), err)
			continue
		}
		some = append(some, c)
	}
	return some
}

// serveAsClient is the client in Go, which a run starts this program as.
func serveAsClient(args []string) error {
	if len(args) != 3 {
		return errors.New("a client takes a URL, a number and a proxy")
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return fmt.Errorf("reading the number: %w", err)
	}
	pem, err := os.ReadFile(os.Getenv("SSL_CERT_FILE"))
	if err != nil {
		return fmt.Errorf("reading the authority: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{MaxIdleConnsPerHost: n, TLSClientConfig: &tls.Config{RootCAs: roots}}
	if args[2] != "" {
		proxy, err := url.Parse(args[2])
		if err != nil {
			return fmt.Errorf("reading the proxy: %w", err)
		}
		transport.Proxy = http.ProxyURL(proxy)
	}
	c := &http.Client{Transport: transport}
	fmt.Println(allAtOnce(c, args[0], n))
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return fmt.Errorf("waiting for the thaw: %w", err)
	}
	fmt.Println(allAtOnce(c, args[0], n))
	return nil
}

// allAtOnce makes n requests and returns how many failed.
func allAtOnce(c *http.Client, target string, n int) (failed int) {
	var mu sync.Mutex
	var requests sync.WaitGroup
	for range n {
		requests.Go(func() {
			answer, err := c.Get(target)
			if err == nil {
				_, err = io.Copy(io.Discard, answer.Body)
				_ = answer.Body.Close() // it has been read
			}
			if err != nil {
				mu.Lock()
				failed++
				mu.Unlock()
				fmt.Fprintln(os.Stderr, err)
			}
		})
	}
	requests.Wait()
	return failed
}
