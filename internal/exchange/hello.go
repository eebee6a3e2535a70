package exchange

import (
	"io"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/clientconn"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// HelloReader returns a reader of what follows what is buffered of the connection. While
// memory runs short it gives no more than fits the buffer that every connection has:
// many can be let in while they hold little, and grow at the same time. And it gives no
// more than the function may hold. The error is an *admission.LimitError then.
func (x *Exchange) HelloReader() io.Reader { return &helloReader{x: x} }

// helloReader is what HelloReader returns.
type helloReader struct {
	x     *Exchange
	read  int
	grown bool // what is more than usual is counted
}

// Read implements io.Reader.
func (r *helloReader) Read(p []byte) (int, error) {
	x := r.x
	if r.read+len(x.Conn.Buffered()) >= clientconn.HeadBuffer {
		if x.shared.MemoryWatch.ShortNow() {
			x.shed(admission.ShedMemory)
			return 0, &admission.LimitError{Reason: verdict.ReasonLimitTotal}
		}
		if !r.grown {
			if !x.shared.Slots.Grow(x.usage, admission.HelloBytes) {
				x.shed(admission.ShedMemory)
				return 0, &admission.LimitError{Reason: verdict.ReasonLimitFunction}
			}
			r.grown, x.held = true, x.held+admission.HelloBytes
		}
	}
	n, err := x.Conn.Conn.Read(p)
	r.read += n
	return n, err
}
