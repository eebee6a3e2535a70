package policy

import (
	"encoding/binary"
	"fmt"
)

// unionBuilder gathers the entries of a Union.
type unionBuilder struct {
	list    listBuilder
	at      map[unionKey]int    // where in list a pattern stands
	rules   []Rule              // by number
	numbers map[Rule]int32      // of rules
	done    map[setClass]*Terms // sets that are in, and the terms that put them there
}

// unionKey is what entries of a union differ in.
type unionKey struct {
	text      string
	wild      bool
	addresses string
}

// setClass is a set as the rules with the same addresses see it.
type setClass struct {
	list      *list
	addresses string
}

// add adds what a function has. A set that is already in is not walked again
// unless this rule outlasts the one that put it there.
func (b *unionBuilder) add(f *Function) {
	for _, wild := range []bool{false, true} {
		f.own.table(wild).each(func(text string, e entry) {
			b.put(text, wild, Rule{function: f, terms: f.terms[e.terms], index: e.index, line: e.line})
		})
	}
	for i := range f.sets {
		ref := &f.sets[i]
		class := setClass{ref.list, ref.rule.terms.addressKey()}
		if known := b.done[class]; known != nil && !outlasts(ref.rule.terms, known) {
			continue
		}
		b.done[class] = ref.rule.terms
		for _, wild := range []bool{false, true} {
			ref.list.table(wild).each(func(text string, _ entry) { b.put(text, wild, f.ruleOf(ref)) })
		}
	}
}

// put adds a pattern, or gives it to the rule where that outlasts its own.
func (b *unionBuilder) put(text string, wild bool, r Rule) {
	key := unionKey{text, wild, r.terms.addressKey()}
	at, known := b.at[key]
	if known && !outlasts(r.terms, b.rules[b.list.entries[at].terms].terms) {
		return
	}
	number, numbered := b.numbers[r]
	if !numbered {
		number = int32(len(b.rules))
		b.numbers[r] = number
		b.rules = append(b.rules, r)
	}
	if known {
		b.list.entries[at].terms = number
		return
	}
	b.at[key] = len(b.list.entries)
	b.list.add(patternText{text, wild}, entry{terms: number})
}

// outlasts tells whether t allows longer than other, where neither has a say
// about ports: terms without any allow nothing and are outlasted by all others.
func outlasts(t, other *Terms) bool {
	if len(t.Ports) == 0 || len(other.Ports) == 0 {
		return len(t.Ports) > len(other.Ports)
	}
	return !other.Expires.IsZero() && (t.Expires.IsZero() || t.Expires.After(other.Expires))
}

// addressKey is equal for terms that open the same addresses in the same order.
func (t *Terms) addressKey() string {
	if len(t.Addresses) == 0 {
		return ""
	}
	return fmt.Sprint(t.Addresses)
}

// each calls yield for every entry in the order in which they were added.
func (t *table) each(yield func(text string, e entry)) {
	for rest := t.arena; len(rest) > 0; {
		size := int(rest[headerSize-1])
		yield(string(rest[headerSize:headerSize+size]), entry{
			index: int32(binary.LittleEndian.Uint32(rest)),
			line:  int32(binary.LittleEndian.Uint32(rest[4:])),
			terms: int32(binary.LittleEndian.Uint32(rest[8:])),
		})
		rest = rest[headerSize+size:]
	}
}
