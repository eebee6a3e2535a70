package evidence_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
)

// Most lines have a byte that is another, doubled or gone, so that members, values
// and whole lines are wrong in many ways.
func TestVerifierGivesTheRecordsThatParseMakes(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	var lines [][]byte
	for _, boot := range []string{"b1", "b\\u0032", "b3"} {
		for _, line := range written(t, boot) {
			lines = append(lines, []byte(line), []byte(prevField.ReplaceAllString(line, `"prev":null`)))
			for range 100 {
				other, at := []byte(line), random.IntN(len(line))
				switch random.IntN(3) {
				case 0:
					other[at] = `"\{}[]:,0a1n `[random.IntN(13)]
				case 1:
					other = append(other[:at], line[max(at-1, 0):]...)
				default:
					other = append(other[:at], line[at+1:]...)
				}
				lines = append(lines, other)
			}
		}
	}
	if _, err := evidence.Parse(lines[1]); !errors.Is(err, evidence.ErrNoRecord) {
		t.Errorf("%v for a record without a hash of the one before", err)
	}
	v, got, good := evidence.NewVerifier(), 0, 0
	v.Records(func(file string, r *evidence.Record, err error) {
		want, wantErr := evidence.Parse(lines[got])
		want.Prev, want.Addresses, want.SNI = "", nil, nil
		if !reflect.DeepEqual(*r, want) || fmt.Sprint(err) != fmt.Sprint(wantErr) || file != fmt.Sprint("f", got%3) {
			t.Errorf("%s: %s\n%+v, %v\nParse makes of it %+v, %v", file, lines[got], *r, err, want, wantErr)
		}
		if err == nil {
			good++
		}
		got++
	})
	for i, line := range lines {
		v.Add(evidence.Line{File: fmt.Sprint("f", i%3), Number: i + 1, Raw: line})
	}
	v.Result()
	if got != len(lines) || good < len(lines)/10 || good == len(lines) {
		t.Errorf("%d lines of %d, %d of them records", got, len(lines), good)
	}
}

// The scanner looks at eight bytes at a time.
func TestEveryByteOfATextIsLookedAt(t *testing.T) {
	t.Parallel()
	const long = 25
	for c := range 256 {
		for at := range long {
			line := []byte(`"` + strings.Repeat("a", long) + `"`)
			line[1+at] = byte(c)
			_, err := evidence.Parse(line)
			if good := json.Valid(line); errors.Is(err, evidence.ErrOtherJSON) != good {
				t.Fatalf("%q: %v; that it is JSON is %t", line, err, good)
			}
		}
	}
}
