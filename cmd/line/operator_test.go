package line

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/weirproject/weir/cmd/admin"
)

func TestTextsOfAChangeAreBounded(t *testing.T) {
	long := strings.Repeat("x", maxText+1)
	for name, q := range map[string]admin.VerdictRequest{
		"reason": {Reason: long}, "value": {Value: long}, "by": {By: long}, "id": {ID: long}, "site": {Site: long}, "kind": {Kind: long}, "for": {For: long},
		"": {Reason: long[1:], Value: long[1:]},
	} {
		body, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		var got admin.VerdictRequest
		err = decodeChange(httptest.NewRequest(http.MethodPost, "/", strings.NewReader(string(body))), &got)
		if (err != nil) != (name != "") || err != nil && !strings.HasPrefix(err.Error(), name+" has 1025 bytes") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
