package envelope

import (
	"bytes"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence/jsonscan"
)

// documentKeys are the first keys of documents of log events: of a CloudWatch
// Logs subscription, and of what aws logs prints.
var documentKeys = map[string]bool{
	"messageType": true, "owner": true, "logGroup": true, "logStream": true, "subscriptionFilters": true, "logEvents": true,
	"events": true, "searchedLogStreams": true, "nextToken": true, "nextForwardToken": true, "nextBackwardToken": true,
}

// isDocument reports whether a document of log events begins here.
func isDocument(start []byte) bool {
	b := bytes.TrimLeft(start, " \t\r\n")
	if len(b) == 0 || b[0] != '{' {
		return false
	}
	b = bytes.TrimLeft(b[1:], " \t\r\n")
	if len(b) == 0 || b[0] != '"' {
		return false
	}
	end := bytes.IndexByte(b[1:], '"')
	return end > 0 && documentKeys[string(b[1:1+end])]
}

// cutTime takes the time off that an export of CloudWatch Logs puts before
// a line, and the stream that aws logs tail puts behind that. It reports
// whether there was a time; the order of such lines is not the writer's.
func cutTime(line []byte) (rest []byte, found bool) {
	const shortest = len("2006-01-02T15:04:05")
	stamp, rest, ok := bytes.Cut(line[:min(len(line), window)], []byte(" "))
	if !ok || len(stamp) < shortest || stamp[4] != '-' || stamp[7] != '-' || stamp[10] != 'T' || stamp[13] != ':' {
		return line, false
	}
	rest = line[len(line[:min(len(line), window)])-len(rest):]
	if len(rest) > 0 && rest[0] != '{' {
		if at := bytes.Index(rest[:min(len(rest), 2*window)], []byte(" {")); at > 0 && bytes.IndexByte(rest[:at], ' ') < 0 {
			rest = rest[at+1:]
		}
	}
	return rest, true
}

// cutLog appends the line that a log router has put into an object as its
// member log. A record, which has an event behind its time, is never one.
func cutLog(dst, line []byte) ([]byte, bool) {
	if len(line) == 0 || line[0] != '{' || bytes.Contains(line[:min(len(line), 64)], []byte(`,"event":"`)) {
		return nil, false
	}
	if !bytes.Contains(line, []byte(`"log"`)) {
		return nil, false
	}
	var log []byte
	found, record := 0, false
	ok := jsonscan.Members(line, func(key, value []byte) {
		switch string(key) {
		case "log":
			log = value
			found++
		case "boot", "seq", "_aws":
			record = true
		}
	})
	if !ok || record || found != 1 || log[0] != '"' {
		return nil, false
	}
	return jsonscan.AppendUnquoted(dst, log), true
}
