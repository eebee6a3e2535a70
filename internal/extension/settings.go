package extension

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
)

// defaultListen is where clients find the extension, without a setting.
const defaultListen = "127.0.0.1:3128"

// Settings are the variables of the function that the extension reads.
type Settings struct {
	Proxy    string      // EGRESS_PROXY, as host:port
	TLS      *tls.Config // for connections to it; EGRESS_CA is in it
	Audience string      // EGRESS_AUDIENCE
	Listen   string      // EGRESS_LISTEN
	Level    slog.Level  // EGRESS_LOG
}

// SettingError is a variable that is missing or wrong.
type SettingError struct {
	Variable string
	Err      error
}

// Error implements error.
func (e *SettingError) Error() string { return e.Variable + ": " + e.Err.Error() }

// Unwrap returns what is wrong.
func (e *SettingError) Unwrap() error { return e.Err }

// ReadSettings reads the variables by get, such as os.Getenv. The error is a
// *SettingError of the first that is wrong; Listen and Level hold whatever else is
// wrong, so that clients can be told.
func ReadSettings(get func(string) string) (Settings, error) {
	s := Settings{Audience: get("EGRESS_AUDIENCE"), Listen: get("EGRESS_LISTEN")}
	level, levelErr := readLevel(get("EGRESS_LOG"))
	s.Level = level
	listen, err := readListen(s.Listen)
	if s.Listen = listen; err != nil {
		return s, &SettingError{"EGRESS_LISTEN", err}
	}
	host, address, err := readProxy(get("EGRESS_PROXY"))
	if err != nil {
		return s, &SettingError{"EGRESS_PROXY", err}
	}
	if s.Proxy = address; s.Audience == "" {
		return s, &SettingError{"EGRESS_AUDIENCE", errUnset}
	}
	roots, err := readRoots(get("EGRESS_CA"))
	if err != nil {
		return s, &SettingError{"EGRESS_CA", err}
	}
	s.TLS = &tls.Config{
		ServerName: host, RootCAs: roots, MinVersion: tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(4), // a full handshake for each CONNECT would cost both sides most of it
	}
	if levelErr != nil {
		return s, &SettingError{"EGRESS_LOG", levelErr}
	}
	return s, nil
}

// errUnset is a variable that has to be set.
var errUnset = fmt.Errorf("it is not set")

// readLevel reads EGRESS_LOG: a level of slog, or off.
func readLevel(s string) (slog.Level, error) {
	switch s {
	case "":
		return slog.LevelWarn, nil
	case "off":
		return slog.LevelError + 1, nil
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(s)); err != nil {
		return slog.LevelWarn, fmt.Errorf("%q is none of debug, info, warn, error, off", s)
	}
	return level, nil
}

// readListen reads EGRESS_LISTEN, an address of loopback: whoever reaches the extension
// is the function.
func readListen(s string) (string, error) {
	if s == "" {
		return defaultListen, nil
	}
	host, _, err := net.SplitHostPort(s)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return defaultListen, fmt.Errorf("%q is no address of loopback with a port", s)
	}
	return s, nil
}

// readProxy reads EGRESS_PROXY, https://host:port and nothing more.
func readProxy(s string) (host, address string, err error) {
	if s == "" {
		return "", "", errUnset
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", "", fmt.Errorf("it is not of the form https://host:3129") // what stands there may hold a secret
	}
	port := u.Port()
	if port == "" {
		port = "3129"
	}
	return u.Hostname(), net.JoinHostPort(u.Hostname(), port), nil
}

// readRoots reads EGRESS_CA, a PEM file of the authorities that the proxy's certificate may
// be of; nil: those of the system.
func readRoots(name string) (*x509.CertPool, error) {
	if name == "" {
		return nil, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", name)
	}
	return pool, nil
}
