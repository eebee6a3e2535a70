package audit

import "time"

// Reopen opens the file anew, after logrotate moved the old one away. The
// chain and seq go on, and no record is split over two files: a line of which
// the old file has a part is completed there, or where that fails cut off
// there and written to the new file. On an error the old file stays in use.
// On standard output it does nothing.
func (l *Log) Reopen() error {
	if l.path == "" {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return unavailable(errClosed)
	}
	if err := l.acquire(); err != nil {
		return err
	}
	defer l.end()
	l.mu.Unlock()
	old, next, err := l.swap()
	l.mu.Lock()
	if err != nil {
		return err
	}
	l.out = next
	return old.close()
}

// swap opens the path and brings a torn line to its end in the old file or in
// the new one.
func (l *Log) swap() (old sink, next *file, err error) {
	// Its error comes again with the next write, or the cause stays behind
	// with the old file.
	_ = l.mend(time.Now().Add(l.timeout))
	next, midLine, err := openFile(l.path)
	if err != nil {
		return nil, nil, err
	}
	was, _ := l.out.(*file)
	if was != nil && was.same(next) {
		return l.out, next, nil
	}
	if was != nil {
		was.cut(l.torn.begun())
	}
	l.torn.rest = nil
	if midLine {
		l.torn.rest = []byte{'\n'}
	}
	l.torn.rest = append(l.torn.rest, l.torn.line...)
	return l.out, next, nil
}

// moved reports whether the path names another file than the one that is open,
// or none.
func (l *Log) moved() bool {
	if l.path == "" {
		return false
	}
	l.mu.Lock()
	f, ok := l.out.(*file)
	closed := l.closed
	l.mu.Unlock()
	return ok && !closed && !f.at(l.path)
}

// Close writes what waits, those that share records included, completes what is torn and closes the file; it does
// not close standard output. Records that come later are ErrUnavailable.
func (l *Log) Close() error {
	l.budgets.close()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	l.post.Stop()
	for len(l.open.marks) > 0 && !l.stalled {
		if l.busy {
			l.turn.Wait()
			continue
		}
		l.lead()
	}
	if err := l.acquire(); err != nil {
		return err
	}
	defer l.end()
	l.mu.Unlock()
	err := l.mend(time.Now().Add(l.timeout))
	closeErr := l.out.close()
	l.mu.Lock()
	if err != nil && l.torn.line != nil {
		l.tally.remove(l.torn.mark)
		l.metrics.lost.Add(float64(l.torn.mark.weight))
		return unavailable(err)
	}
	return closeErr
}
