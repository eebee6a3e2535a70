package httphead

import (
	"fmt"
	"strings"
)

// Field is one field line of a head that has been parsed (RFC 9112, section 5).
type Field struct {
	Line  string // as it came, without its CRLF
	Name  string // as it was spelled
	Value string // without the white space around it
}

// Is reports whether the field has the name, in whatever case.
func (f *Field) Is(name string) bool {
	return len(f.Name) == len(name) && strings.EqualFold(f.Name, name)
}

// Fields returns the field lines of a head: what stands behind its first line.
func Fields(raw string) string {
	_, rest, _ := strings.Cut(raw, "\r\n")
	return rest
}

// NextField takes the first field line off lines; false: there is none left.
func NextField(lines string) (f Field, rest string, ok bool) {
	line, rest, _ := strings.Cut(lines, "\r\n")
	if line == "" {
		return Field{}, "", false
	}
	name, value, _ := strings.Cut(line, ":")
	return Field{Line: line, Name: name, Value: strings.Trim(value, " \t")}, rest, true
}

// splitField checks one field line and takes it apart.
func splitField(line string) (name, value string, err error) {
	name, value, ok := strings.Cut(line, ":")
	if !ok || name == "" || !allBytes(name, isToken) {
		return "", "", fmt.Errorf("%w: a field line has no name", ErrMalformed)
	}
	if !allBytes(value, isFieldValue) {
		return "", "", fmt.Errorf("%w: a field value has a control byte", ErrMalformed)
	}
	return name, value, nil
}

// IsValue reports whether s may be a field value, or what else is made of the same bytes.
func IsValue(s string) bool { return allBytes(s, isFieldValue) }
