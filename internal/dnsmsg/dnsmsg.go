// Package dnsmsg walks DNS messages without reading what is in their records.
//
// What it does: [Whole] says whether a message is as long as its own header says (RFC
// 1035, section 4.1): libraries stop reading where the bytes end, whatever the counts.
//
// What it does not do: it reads no record and follows no pointer. Package dns of miekg
// does both.
//
//	if !dnsmsg.Whole(reply) { return errMalformed }
package dnsmsg

import "encoding/binary"

const (
	headerLen = 12
	maxLabel  = 63
	// fixed is what a question, and a record, have behind their name: of a record type,
	// class, TTL and the length of its data.
	fixedOfQuestion, fixedOfRecord = 4, 10
)

// Whole reports whether a message has as many questions and records, in each of the four
// sections, as its header counts, each of them whole, and nothing behind the last one.
func Whole(msg []byte) bool {
	if len(msg) < headerLen {
		return false
	}
	at, ok := headerLen, true
	for range binary.BigEndian.Uint16(msg[4:]) {
		if at, ok = SkipName(msg, at); !ok {
			return false
		}
		at += fixedOfQuestion
	}
	for section := 6; section < headerLen; section += 2 {
		for range binary.BigEndian.Uint16(msg[section:]) {
			if at, ok = SkipRecord(msg, at); !ok {
				return false
			}
		}
	}
	return at == len(msg)
}

// SkipRecord returns where the record that begins at at ends. False: it does not end
// within the message.
func SkipRecord(msg []byte, at int) (end int, ok bool) {
	at, ok = SkipName(msg, at)
	if !ok || at+fixedOfRecord > len(msg) {
		return 0, false
	}
	at += fixedOfRecord + int(binary.BigEndian.Uint16(msg[at+fixedOfRecord-2:]))
	return at, at <= len(msg)
}

// SkipName returns where the name that begins at at ends: behind its root, or behind a
// pointer. False: it does not end within the message, or has a label of another type.
func SkipName(msg []byte, at int) (end int, ok bool) {
	for at < len(msg) {
		switch n := int(msg[at]); {
		case n == 0:
			return at + 1, true
		case n > maxLabel:
			return at + 2, n >= 0xC0 && at+2 <= len(msg)
		default:
			at += 1 + n
		}
	}
	return 0, false
}
