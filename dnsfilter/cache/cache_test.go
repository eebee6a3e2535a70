package cache_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter/cache"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter/wire"
)

// now is when all answers of the tests are packed.
var now = time.Unix(1000, 0)

// answer packs an answer to a question of that name.
func answer(t *testing.T, name string, ttl time.Duration) (*wire.Query, *wire.Packed) {
	t.Helper()
	rr, err := dns.NewRR(name + ". 300 A 192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	q := &wire.Query{Text: []byte(name), Type: dns.TypeA, Class: dns.ClassINET}
	p, err := wire.Pack(q.Question(), &wire.Records{Answer: []dns.RR{rr}, TTL: ttl}, now)
	if err != nil {
		t.Fatal(err)
	}
	return q, p
}

func TestAnswerServesForFourFifthsOfItsTTLAndItsOwnQuestionAlone(t *testing.T) {
	c := cache.New(1 << 20)
	q, p := answer(t, "a.example", 10*time.Second)
	c.Store(cache.Key(nil, q), p, now)
	for after, want := range map[time.Duration]*wire.Packed{0: p, 7 * time.Second: p, 8 * time.Second: nil} {
		if got := c.Get(cache.Key(nil, q), now.Add(after)); got != want {
			t.Errorf("after %v: %v", after, got)
		}
	}
	signed, otherType := *q, *q
	signed.DO, otherType.Type = true, dns.TypeAAAA
	for _, other := range []*wire.Query{&signed, &otherType, {Text: []byte("b.example"), Type: dns.TypeA}} {
		if c.Get(cache.Key(nil, other), now) != nil {
			t.Errorf("%+v gets the answer to another question", other)
		}
	}
	q, p = answer(t, "none.example", 0)
	if c.Store(cache.Key(nil, q), p, now); c.Get(cache.Key(nil, q), now) != nil {
		t.Error("an answer without a TTL is kept")
	}
}

func TestCacheHoldsNoMoreThanItsBytes(t *testing.T) {
	const bytes, answers = 1 << 16, 1000
	c := cache.New(bytes)
	var keys [][]byte
	size := 0
	for i := range answers {
		q, p := answer(t, fmt.Sprintf("n%d.example", i), time.Minute)
		key := cache.Key(nil, q)
		c.Store(key, p, now)
		if c.Get(key, now) != p {
			t.Fatalf("answer %d is not there right after it was kept", i)
		}
		keys, size = append(keys, key), len(key)+p.Size()
	}
	held := 0
	for _, key := range keys {
		if c.Get(key, now) != nil {
			held++
		}
	}
	if held == 0 || held*size > bytes || held == answers {
		t.Errorf("%d of %d answers of %d bytes are held in %d bytes", held, answers, size, bytes)
	}
}
