// Package checkreport writes what was found in policy files, for people and for the
// programs that show it beside the lines: as text, JSON, GitHub's workflow commands, and
// SARIF 2.1.0.
//
// What it does: Of takes what came of loading one file, and Write writes all of them.
//
// What it does not do: it reads no file and judges nothing. Packages config and lint do.
//
//	cfg, err := config.Load("egress.yaml")
//	err = checkreport.Write(os.Stdout, "sarif", []checkreport.Result{checkreport.Of("egress.yaml", cfg, err, time.Now(), true)})
package checkreport

import (
	"errors"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/lint"
)

// Level says how bad a finding is.
type Level string

// The levels.
const (
	Error   Level = "error"   // the file is not good
	Warning Level = "warning" // lint found it
	Notice  Level = "note"    // it ends soon
)

// kindError is the kind of an error of a file; the other kinds are those of package lint.
const kindError = "error"

// Finding is one thing that was found.
type Finding struct {
	File  string `json:"file"`
	Line  int    `json:"line,omitempty"` // 0: it is about no line
	Path  string `json:"path,omitempty"` // functions.billing.allow[2]; "": the file cannot be read
	Level Level  `json:"level"`
	Kind  string `json:"kind"`
	Text  string `json:"text"`

	line string // as text has it
}

// Result is what came of one file.
type Result struct {
	File      string    `json:"file"`
	OK        bool      `json:"ok"` // it is good, whatever was found beside errors
	Functions int       `json:"functions"`
	Rules     int       `json:"rules"`
	Findings  []Finding `json:"findings"` // never nil
}

// Of says what came of loading a file, which messages call by that name. lints asks for all
// that lint finds in a good one, else it is what ends soon.
func Of(file string, cfg *config.Config, err error, now time.Time, lints bool) Result {
	r := Result{File: file, Findings: []Finding{}}
	if err != nil {
		return r.failed(err)
	}
	p, _, err := cfg.Compile()
	if err != nil {
		return r.failed(err)
	}
	find := lint.Ending
	if lints {
		find = lint.Of
	}
	found, err := find(cfg, file, now)
	if err != nil {
		return r.failed(err)
	}
	r.OK, r.Functions, r.Rules = true, len(p.Functions()), p.Rules()
	for _, f := range found {
		level, line := Warning, f.String()
		if f.Kind == lint.Ends {
			level = Notice
		}
		if !lints {
			line = "note: " + f.Text
		}
		r.Findings = append(r.Findings, Finding{f.File, f.Line, f.Path, level, string(f.Kind), f.Text, line})
	}
	return r
}

// failed returns the result of a file that is not good: each of its errors, or the one that
// is about the file as a whole.
func (r Result) failed(err error) Result {
	var problems *config.Error
	if !errors.As(err, &problems) {
		r.Findings = append(r.Findings, Finding{File: r.File, Level: Error, Kind: kindError, Text: err.Error(), line: err.Error()})
		return r
	}
	for _, p := range problems.Problems {
		r.Findings = append(r.Findings, Finding{p.File, p.Line, p.Key, Error, kindError, p.Text, p.String()})
	}
	return r
}
