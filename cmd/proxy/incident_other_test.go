//go:build !linux

package main

// linuxIncidents are none here.
func linuxIncidents() []played { return nil }
