//go:build !linux

package tunnel_test

import "testing"

// byEachEngine runs a test with the one engine that there is.
func byEachEngine(t *testing.T, test func(*testing.T, groupMaker)) { test(t, newGroup) }
