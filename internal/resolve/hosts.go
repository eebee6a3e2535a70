package resolve

import (
	"fmt"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/files"
)

// hostAnswer is what Lookup returns for a name of the hosts file. The file speaks for
// all of the name: what it does not have is not asked for upstream.
func hostAnswer(h files.Host, name string, types []uint16) (Answer, error) {
	addrs := h.Both
	if len(types) == 1 {
		addrs = h.Addresses(types[0])
	}
	if len(addrs) == 0 {
		return Answer{}, fmt.Errorf("resolving %q by the hosts file: %w", name, ErrNotFound)
	}
	return Answer{Addrs: addrs}, nil
}
