// Package printable keeps what clients, origins and files have written from acting on the
// terminal that shows it.
//
// What it does: it escapes in JSON that is already encoded whatever does not print: DEL,
// the C1 controls (of which some begin what a terminal takes for a command), marks that
// turn the direction of text, and all else that unicode.IsPrint does not have. The JSON
// stands for the same as before (RFC 8259, section 7). WriteJSON encodes a document first.
//
// What it does not do: it does not check that what it is given is JSON. Package record of
// audit writes the lines of records by itself, and package doc of report has the formats of
// reports.
//
//	line = printable.AppendJSON(nil, line)
package printable

import (
	"encoding/json"
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// AppendJSON appends JSON to dst, with what does not print escaped. Bytes that are no
// UTF-8 become U+FFFD. The line ends and spaces between its tokens stay.
func AppendJSON(dst, text []byte) []byte {
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && size == 1:
			dst = appendUnit(dst, utf8.RuneError)
		case unicode.IsPrint(r), r < ' ':
			dst = append(dst, text[:size]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			dst = appendUnit(appendUnit(dst, high), low)
		default:
			dst = appendUnit(dst, r)
		}
		text = text[size:]
	}
	return dst
}

// appendUnit appends \uXXXX.
func appendUnit(dst []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	return append(dst, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}

// WriteJSON writes a value as one JSON document, as people read it, with what does not print
// escaped.
func WriteJSON(out io.Writer, document any) error {
	enc := json.NewEncoder(Writer{W: out})
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(document)
}

// Writer writes JSON to W with what does not print escaped. Each call of Write has to
// have whole characters, as that of an encoder for one value has.
type Writer struct{ W io.Writer }

// Write implements io.Writer.
func (w Writer) Write(p []byte) (int, error) {
	if _, err := w.W.Write(AppendJSON(make([]byte, 0, len(p)), p)); err != nil {
		return 0, err
	}
	return len(p), nil
}
