package probes

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
)

// result is one probe, as posture probe writes it, as far as it is counted.
type result struct {
	Time     time.Time
	Verdict  Verdict
	Headline string
	Tries    []try
	Untried  []string
}

// try is what one try says.
type try struct {
	Way   string `json:"way"`
	Class string `json:"class"`
}

// control is the way that should work, and the classes are what a try says of the fence.
const (
	control        = "control"
	classOpen      = "hole"
	classHeld      = "held"
	classCaptive   = "captive"
	classConnected = "connected"
	classNotTried  = "not tried"
	classWorks     = "works"
	classFailed    = "failed"
)

// notOurs is what parse says of a line that is no result and does not claim to be one.
const notOurs = "something else"

// lambdas are how Lambda's own lines begin in the log of a function.
var lambdas = []string{"START RequestId: ", "END RequestId: ", "REPORT RequestId: ", "INIT_START ", "INIT_REPORT ", "EXTENSION\t", "TELEMETRY\t", "LOGS\t"}

// parse reads one line; what says why it is no result, "" that it is one.
func parse(raw []byte) (r *result, what string) {
	if slices.ContainsFunc(lambdas, func(s string) bool { return strings.HasPrefix(string(raw), s) }) {
		return nil, notOurs
	}
	all, err := members(raw)
	switch {
	case errors.Is(err, errTwice):
		return nil, err.Error()
	case err != nil:
		return nil, "it is no JSON object, or part of one"
	case all["tries"] == nil && all["headline"] == nil:
		return nil, notOurs
	}
	return read(all)
}

// read makes a result of the members of a line that claims to be one, and judges it.
func read(all map[string]json.RawMessage) (r *result, what string) {
	r = &result{}
	for name, into := range map[string]any{"time": &r.Time, "verdict": &r.Verdict, "headline": &r.Headline, "tries": &r.Tries} {
		if all[name] == nil || json.Unmarshal(all[name], into) != nil {
			return nil, "it has no " + name + " that can be read"
		}
	}
	if all["not_tried"] != nil && json.Unmarshal(all["not_tried"], &r.Untried) != nil {
		return nil, "it has no not_tried that can be read"
	}
	verdict, known := judge(r.Tries)
	switch {
	case r.Time.Year() < 2000 || r.Time.Year() > 2200: // UnixNano has no more
		return nil, "its time is none"
	case !known:
		return nil, "a try says what this program does not know"
	case verdict != r.Verdict:
		return nil, "its verdict does not follow from its tries"
	}
	return r, ""
}

// errTwice is returned for an object in which a name stands twice: readers disagree about it.
var errTwice = errors.New("a name stands in it twice")

// members returns the members of a JSON object, by their exact names.
func members(raw []byte) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return nil, errors.New("no object")
	}
	all := map[string]json.RawMessage{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := key.(string) // of an object, which the decoder sees to
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
		if all[name] != nil {
			return nil, errTwice
		}
		all[name] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if dec.More() {
		return nil, errors.New("more behind the object")
	}
	return all, nil
}

// judge says what tries mean together; false: one of them has a class that is none. A control
// that worked before and after is what makes them mean something.
func judge(tries []try) (v Verdict, known bool) {
	by := map[string]int{}
	for _, t := range tries {
		switch t.Class {
		case classOpen, classHeld, classCaptive, classConnected, classNotTried, classWorks, classFailed:
			by[t.Class]++
		default:
			return Unknown, false
		}
	}
	works := try{control, classWorks}
	began := len(tries) > 1 && tries[0] == works
	switch {
	case began && by[classOpen] > 0:
		return Hole, true
	case !began || tries[len(tries)-1] != works:
		return Unknown, true
	case by[classCaptive]+by[classConnected] > 0:
		return Unclear, true
	case by[classHeld] == 0:
		return Unknown, true
	default:
		return Held, true
	}
}

// sorted returns the names of ways in their order.
func sorted(ways map[string]*Way) []string { return slices.Sorted(maps.Keys(ways)) }
