package daemon

import "testing"

// A reload that is asked for while another waits is the same reload: whoever
// watches the files must never wait for a program that has begun to stop.
func TestAskingForAReloadNeverWaits(t *testing.T) {
	reloads := make(chan struct{}, 1)
	for range 3 {
		requestReload(reloads)
	}
	if len(reloads) != 1 {
		t.Errorf("%d reloads wait, want 1", len(reloads))
	}
}
