package config

import _ "embed" // for quickstart.yaml

//go:embed quickstart.yaml
var quickstart string

// Quickstart returns the configuration to try the proxy with: it listens on
// loopback alone, knows the function "demo" with the token "demo", and lets it
// reach a few public hosts. It names no other file.
func Quickstart() []byte { return []byte(quickstart) }
