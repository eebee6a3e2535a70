package networkfirewall_test

import (
	"errors"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert/networkfirewall"
)

// Whatever a rule group is, it becomes a policy that loads, or problems that are its own.
func FuzzRead(f *testing.F) {
	for _, c := range documented {
		f.Add(c.group, c.o.TLSOnly, c.o.WebOnly && !c.o.TLSOnly, c.o.DropRest)
	}
	f.Add(written(strict, head+`msg:"a\;b";)`+rest), false, false, true)
	f.Fuzz(func(t *testing.T, group string, tlsOnly, webOnly, dropRest bool) {
		o := networkfirewall.Options{Function: "billing", TLSOnly: tlsOnly, WebOnly: webOnly, DropRest: dropRest}
		p, err := networkfirewall.Read("group", []byte(group), o)
		problems := (*config.Error)(nil)
		if errors.As(err, &problems) {
			for _, one := range problems.Problems {
				if one.File != "group" || one.Line < 1 || one.Text == "" {
					t.Errorf("%+v", one)
				}
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		c := convert.Callers{Name: "callers"}
		if p.Functions[0].Sources == nil {
			c.Data = []byte(callers)
		}
		text, err := convert.Assemble(p, c, nil)
		if err == nil {
			_, err = loaded(string(text))
		}
		if err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	})
}
