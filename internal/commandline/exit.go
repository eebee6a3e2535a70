package commandline

import "fmt"

// The exit codes of the program.
const (
	ExitOK      = 0
	ExitFailed  = 1
	ExitUsage   = 2 // called wrongly: nothing was done
	ExitRefused = 3 // explain, replay: the policy refuses; diff: something is gained; check --lint=fail: something is found
)

// Exit is an error of a command that was called rightly, with the exit code. A nil Err has
// been told already.
type Exit struct {
	Code int
	Err  error
}

// Error returns the code and the error.
func (e *Exit) Error() string { return fmt.Sprintf("exit %d: %v", e.Code, e.Err) }

// Unwrap returns the error.
func (e *Exit) Unwrap() error { return e.Err }

// Failed wraps an error of a command that was called rightly; of nil it returns nil.
func Failed(err error) error {
	if err == nil {
		return nil
	}
	return &Exit{Code: ExitFailed, Err: err}
}
