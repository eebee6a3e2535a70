package audit

import "time"

// Reopen opens the file anew, after logrotate moved the old one away. The
// chain and seq continue, and no record is split over two files: a line of which
// the old file has a part is completed there, or where that fails cut off
// there and written to the new file. On an error the old file stays in use.
// On standard output it does nothing.
func (l *Log) Reopen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.out.Reopenable() {
		return nil
	}
	if l.closed {
		return unavailable(errClosed)
	}
	if err := l.acquire(); err != nil {
		return err
	}
	defer l.end()
	l.mu.Unlock()
	next, err := l.out.Reopen(time.Now().Add(l.timeout))
	l.mu.Lock()
	if err != nil {
		return err
	}
	old := l.out
	l.out = next
	return old.Close()
}

// moved reports whether the path names another file than the one that is open,
// or none.
func (l *Log) moved() bool {
	l.mu.Lock()
	out, closed := l.out, l.closed
	l.mu.Unlock()
	return !closed && out.Moved()
}

// Close writes what waits, refusals that share records included, completes a
// line of which the output has a part, and closes the file; it does not close
// standard output. Records that come later are ErrUnavailable.
func (l *Log) Close() error {
	l.limiter.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	l.post.Stop()
	for len(l.open.lines) > 0 && !l.stalled {
		if l.busy {
			l.cond.Wait()
			continue
		}
		l.lead()
	}
	if err := l.acquire(); err != nil {
		return err
	}
	defer l.end()
	l.mu.Unlock()
	err := l.out.CompletePartial(time.Now().Add(l.timeout))
	closeErr := l.out.Close()
	l.mu.Lock()
	if err != nil && l.out.HasPartial() {
		l.tally.Remove(l.partial)
		l.metrics.lost.Add(float64(l.partial.Weight))
		return unavailable(err)
	}
	return closeErr
}
