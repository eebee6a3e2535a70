package forward

import (
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/clientconn"
)

// The transport may still read when the response is over. What it has not
// taken is the next request's, so nobody may go on before it has let go.
func TestBodyIsOverWhenItsReaderIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, client := net.Pipe()
		defer client.Close()
		b := &requestBody{src: ours, conn: &clientconn.Conn{Conn: ours}, length: -1, idle: time.Hour}
		attempt := b.attempt()
		release := make(chan struct{})
		var read, stopped atomic.Bool
		go func() {
			_, _ = attempt.Read(make([]byte, 1))
			read.Store(true)
			<-release
			_ = attempt.Close()
		}()
		synctest.Wait()
		if read.Load() {
			t.Fatal("the client has sent nothing, and something was read")
		}
		go func() {
			b.stop()
			stopped.Store(true)
		}()
		synctest.Wait()
		if !read.Load() || stopped.Load() {
			t.Errorf("the reader was woken: %v; stop returned before it let go: %v", read.Load(), stopped.Load())
		}
		close(release)
		synctest.Wait()
		if !stopped.Load() {
			t.Error("stop did not return")
		}
		if _, err := b.attempt().Read(make([]byte, 1)); err == nil {
			t.Error("a body that is over was read")
		}
		if b.failed.Load() {
			t.Error("a body that was stopped counts as the client's fault")
		}
	})
}
