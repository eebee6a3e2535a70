package refusal

import (
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

func TestEveryReasonIsAnsweredAsItsRowSays(t *testing.T) {
	answered := 0
	for _, r := range verdict.Reasons() {
		row := r.Row()
		if row.ProxyStatus == verdict.NotOverHTTP {
			continue
		}
		answered++
		wanted := ReplyTo(r, nil)
		wanted.ID = "id"
		reply := string(wanted.AppendTo(nil, &audit.Event{Reason: r, Host: "a.test", Function: "f"}))
		want := []string{
			"HTTP/1.1 " + row.Status.String() + " Egress refused: " + row.Word, "\r\nX-Egress-Reason: " + row.Word + "\r\n",
			"\r\nProxy-Status: egress; error=" + string(row.ProxyStatus) + `; details="` + row.Word + "\"\r\n",
		}
		if wanted.Status != 407 { // whose body is empty
			want = append(want, "\n\n"+row.Advice+"\n")
		}
		for _, s := range want {
			if !strings.Contains(reply, s) {
				t.Errorf("%s: no %q in %q", r, s, reply)
			}
		}
	}
	if answered < 20 {
		t.Errorf("%d reasons are answered over HTTP", answered)
	}
}
