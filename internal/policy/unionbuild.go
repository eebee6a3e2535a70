package policy

import (
	"fmt"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy/matcher"
)

// unionBuilder gathers the entries of a Union.
type unionBuilder struct {
	list    matcher.Builder
	at      map[unionKey]int         // where in list a pattern stands
	rules   []Rule                   // by number
	numbers map[Rule]int32           // of rules
	done    map[setClass]*Conditions // sets that are in, and the conditions that put them there
}

// unionKey is what entries of a union differ in.
type unionKey struct {
	text      string
	wild      bool
	addresses string
}

// setClass is a set as the rules with the same addresses see it.
type setClass struct {
	list      *matcher.List
	addresses string
}

// add adds what a function has. A set that is already in is not walked again
// unless this rule expires later than the one that put it there.
func (b *unionBuilder) add(f *Function) {
	f.own.Each(func(text string, wild bool, e matcher.Entry) {
		b.addPattern(text, wild, Rule{function: f, conditions: f.conditions[e.Conditions], index: e.Index, line: e.Line})
	})
	for i := range f.sets {
		ref := &f.sets[i]
		class := setClass{ref.list, ref.rule.conditions.addressKey()}
		if known := b.done[class]; known != nil && !expiresLater(ref.rule.conditions, known) {
			continue
		}
		b.done[class] = ref.rule.conditions
		ref.list.Each(func(text string, wild bool, _ matcher.Entry) { b.addPattern(text, wild, f.ruleOf(ref)) })
	}
}

// addPattern adds a pattern, or gives it to the rule where that expires later than its own.
func (b *unionBuilder) addPattern(text string, wild bool, r Rule) {
	key := unionKey{text, wild, r.conditions.addressKey()}
	at, known := b.at[key]
	if known && !expiresLater(r.conditions, b.rules[b.list.Entry(at).Conditions].conditions) {
		return
	}
	number, numbered := b.numbers[r]
	if !numbered {
		number = int32(len(b.rules))
		b.numbers[r] = number
		b.rules = append(b.rules, r)
	}
	if known {
		b.list.Entry(at).Conditions = number
		return
	}
	b.at[key] = b.list.Len()
	b.list.AddText(text, wild, matcher.Entry{Conditions: number})
}

// expiresLater reports whether t allows longer than other, where neither has a say
// about ports: conditions without any allow nothing and expire before all others.
func expiresLater(t, other *Conditions) bool {
	if len(t.Ports) == 0 || len(other.Ports) == 0 {
		return len(t.Ports) > len(other.Ports)
	}
	return !other.Expires.IsZero() && (t.Expires.IsZero() || t.Expires.After(other.Expires))
}

// addressKey is equal for conditions that open the same addresses in the same order.
func (t *Conditions) addressKey() string {
	if len(t.Addresses) == 0 {
		return ""
	}
	return fmt.Sprint(t.Addresses)
}
