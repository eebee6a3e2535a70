package tunnel

import (
	"net"
	"sync/atomic"
)

// Transfer is N bytes that go one way. All fields are required.
type Transfer struct {
	Dst, Src *net.TCPConn
	N        int64
	Moved    *atomic.Int64 // bytes that Dst has accepted are added to it
	SrcIdle  *atomic.Bool  // says whether Src is waited for
}

// Move moves bytes as a direction of a tunnel does: spliced while they stream, with no buffer while there is nothing to
// read. It returns how many are left, what is wrong with Src, and what with Dst; some are left without either where Src
// has ended in order. Deadlines hold; the connections stay open.
func (g *Group) Move(tr Transfer) (left int64, srcErr, dstErr error) {
	var src, dst end
	src.setRaw(tr.Src)
	dst.setRaw(tr.Dst)
	d := direction{limit: tr.N, transfer: &tr, credit: streamAfter}
	d.t, d.src, d.dst = &Tunnel{group: g}, &src, &dst
	d.stepFunc = d.step
	srcErr, dstErr = d.moveAll()
	d.release()
	tr.SrcIdle.Store(false)
	return d.limit + int64(d.piped+len(d.pending)), srcErr, dstErr
}
