package httphead

// HasContentByCustom reports whether requests of the method have content: POST, PUT and
// PATCH. Where one has that should not, origins leave it unread and take it for the next
// request (RFC 9110, section 9.3.1), so its connection is not used for another.
func HasContentByCustom(method string) bool {
	switch method {
	case "POST", "PUT", "PATCH":
		return true
	default:
		return false
	}
}

// IsIdempotent reports whether a request of the method may be repeated without being asked
// (RFC 9110, section 9.2.2): any but POST and PATCH.
func IsIdempotent(method string) bool { return method != "POST" && method != "PATCH" }
