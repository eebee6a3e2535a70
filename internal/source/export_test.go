package source

// SameByContent reports whether a file counts as the same after a change of which neither
// its size nor any of its times tells.
func SameByContent(path string, change func()) bool {
	then := stateNow(path)
	change()
	now, _ := seen(path)
	then.seen = now.seen
	return then.again(path) == then
}

// Unreads reports whether the content of a file is no longer compared once it is the same
// as before for long enough.
func Unreads(path string) bool { return stateNow(path).unread(path).content == "" }
