package dnsfilter_test

import (
	"fmt"
	"net"
	"testing"
)

// TestMain runs nothing where clients cannot come from all over 127.0.0.0/8.
func TestMain(m *testing.M) {
	ln, err := net.Listen("tcp", "127.0.0.77:0")
	if err != nil {
		fmt.Println("skipped: on Linux all of 127.0.0.0/8 is loopback, here it is not:", err)
		return
	}
	ln.Close()
	m.Run()
}
