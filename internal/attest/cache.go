package attest

import (
	"crypto/sha256"
	"sync"
	"time"
)

// MaxRemembered is how many tokens the cache of a proxy holds, with about 600 bytes each.
const MaxRemembered = 16384

// Digest is the SHA-256 of a token.
type Digest [sha256.Size]byte

// Cache remembers tokens that have held, by their digest. It holds so many at most, and
// forgets the oldest for a new one. A token that is remembered holds until its end, as
// long as its key is one of its issuer's, and by the same Trust alone. Safe for
// concurrent use. The zero Cache remembers nothing.
type Cache struct {
	most int

	mu     sync.RWMutex
	tokens map[Digest]remembered
	order  []Digest // a ring of those that were added, the oldest at next once it is full
	next   int
}

// remembered is one token.
type remembered struct {
	trust     *Trust
	key       *Key
	principal *Principal
}

// NewCache returns a cache of so many tokens.
func NewCache(most int) *Cache { return &Cache{most: most, tokens: map[Digest]remembered{}} }

// Get returns the principal of a token that is remembered and holds; nil: there is none,
// and it has to be verified. The principal is shared and not to be changed. It does not
// allocate.
func (c *Cache) Get(d Digest, t *Trust, keys func(issuer string) *Keys, now time.Time) *Principal {
	c.mu.RLock()
	r, ok := c.tokens[d]
	c.mu.RUnlock()
	if !ok || !now.Before(r.principal.Expires) || !r.trust.same(t) || !keys(r.principal.Issuer).has(r.key) {
		return nil
	}
	return r.principal
}

// Add remembers a token that has held by the Trust, and returns its principal. Any other
// outcome is not remembered, and nil.
func (c *Cache) Add(d Digest, t *Trust, o Outcome) *Principal {
	if o.Result != Verified || o.key == nil {
		return nil
	}
	principal := &o.Principal
	if c.most <= 0 {
		return principal
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.tokens[d]; !known {
		if len(c.order) < c.most {
			c.order = append(c.order, d)
		} else {
			delete(c.tokens, c.order[c.next])
			c.order[c.next] = d
			c.next = (c.next + 1) % c.most
		}
	}
	c.tokens[d] = remembered{trust: t, key: o.key, principal: principal}
	return principal
}

// Sweep forgets what has ended, and whose key is gone: within the bound it would do no
// harm but take room.
func (c *Cache) Sweep(t *Trust, keys func(issuer string) *Keys, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	remaining := make([]Digest, 0, len(c.order))
	for i := range c.order {
		d := c.order[(c.next+i)%len(c.order)]
		r := c.tokens[d]
		if now.Before(r.principal.Expires) && r.trust.same(t) && keys(r.principal.Issuer).has(r.key) {
			remaining = append(remaining, d)
		} else {
			delete(c.tokens, d)
		}
	}
	c.order, c.next = remaining, 0
}

// Len returns how many tokens are remembered.
func (c *Cache) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.tokens)
}
