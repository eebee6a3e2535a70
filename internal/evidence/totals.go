package evidence

import (
	"fmt"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence/jsonscan"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence/record"
)

// maxKeys is how many pairs of event and reason have a number of their own. The proxy has
// some tens; beyond that all count as one.
const maxKeys = 4096

// keys numbers the pairs of event and reason.
type keys struct {
	byName map[string]int // "event/reason"
	names  []string
	name   []byte
}

func newKeys() keys { return keys{byName: map[string]int{}} }

// of returns the number of a pair.
func (k *keys) of(event, reason []byte) int {
	k.name = append(append(append(k.name[:0], event...), '/'), reason...)
	if len(reason) == 0 {
		k.name = append(k.name, "none"...)
	}
	if i, ok := k.byName[string(k.name)]; ok {
		return i
	}
	name := string(k.name)
	if len(k.names) >= maxKeys {
		return maxKeys - 1
	}
	k.byName[name] = len(k.names)
	k.names = append(k.names, name)
	return len(k.names) - 1
}

// sums are counts by the number of a pair. Those beyond the end are zero.
// Differences may wrap.
type sums []uint64

// add adds n to one count.
func (s *sums) add(key int, n uint64) {
	for len(*s) <= key {
		*s = append(*s, 0)
	}
	(*s)[key] += n
}

// at returns one count.
func (s sums) at(key int) uint64 {
	if key < len(s) {
		return s[key]
	}
	return 0
}

// plus returns s + t, or s - t where sign is -1.
func (s sums) plus(t sums, sign int) sums {
	out := make(sums, max(len(s), len(t)))
	for i := range out {
		out[i] = s.at(i) + uint64(sign)*t.at(i)
	}
	return out
}

// claimed reads what a record says in totals.
func (k *keys) claimed(totals []byte) (claimed sums, ok bool) {
	good := true
	ok = jsonscan.Members(totals, func(event, reasons []byte) {
		good = jsonscan.Members(reasons, func(reason, value []byte) {
			var n uint64
			good = record.Unsigned(&n, value) && good
			claimed.add(k.of(event, reason), n)
		}) && good
	})
	return claimed, ok && good
}

// difference says where two sums differ: "refused/not_listed 5 for 4".
func (k *keys) difference(claimed, found sums) string {
	const most = 8
	var parts []string
	for i := range max(len(claimed), len(found)) {
		if claimed.at(i) == found.at(i) {
			continue
		}
		if len(parts) == most {
			return strings.Join(append(parts, "…"), ", ")
		}
		parts = append(parts, fmt.Sprintf("%s %d for %d", quoteKey(k.names[i]), claimed.at(i), found.at(i)))
	}
	return strings.Join(parts, ", ")
}

// missing names the counts of a difference: "3 of refused/not_listed".
func (k *keys) missing(s sums) string {
	var parts []string
	for i, n := range s {
		if int64(n) > 0 {
			parts = append(parts, fmt.Sprintf("%d of %s", n, quoteKey(k.names[i])))
		}
	}
	return strings.Join(parts, ", ")
}

// quoteKey returns a name that prints, in quotes where it is not a plain word.
func quoteKey(name string) string {
	for _, c := range []byte(name) {
		if c|0x20 < 'a' || c|0x20 > 'z' {
			if c != '_' && c != '/' {
				return fmt.Sprintf("%.80q", name)
			}
		}
	}
	return name
}
