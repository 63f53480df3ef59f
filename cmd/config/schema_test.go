package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/weirproject/weir/cmd/config"
)

// jsonSchema is what our schemas use of JSON schema.
type jsonSchema struct {
	Type                 any
	Enum                 []any
	Pattern              string
	AnyOf, OneOf         []*jsonSchema
	Properties           map[string]*jsonSchema
	AdditionalProperties any
	Items                *jsonSchema
}

// faults lists where v does not fit.
func (s *jsonSchema) faults(v any, path string) (out []string) {
	if s.Type != nil && !slices.Contains(strings.Fields(strings.Trim(fmt.Sprint(s.Type), "[]")), kindOf(v)) {
		out = append(out, fmt.Sprintf("%s: %v is no %v", path, v, s.Type))
	}
	if s.Enum != nil && !slices.Contains(s.Enum, v) {
		out = append(out, fmt.Sprintf("%s: %v is none of %v", path, v, s.Enum))
	}
	if text, ok := v.(string); ok && s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(text) {
		out = append(out, fmt.Sprintf("%s: %q does not match %s", path, text, s.Pattern))
	}
	for _, any := range [][]*jsonSchema{s.AnyOf, s.OneOf} {
		if any != nil && !slices.ContainsFunc(any, func(one *jsonSchema) bool { return one.faults(v, path) == nil }) {
			out = append(out, fmt.Sprintf("%s: %v fits none", path, v))
		}
	}
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			switch p := s.Properties[key]; {
			case p != nil:
				out = append(out, p.faults(member, path+"."+key)...)
			case s.AdditionalProperties == false:
				out = append(out, fmt.Sprintf("%s.%s is not known", path, key))
			}
		}
	case []any:
		for i, item := range v {
			if s.Items != nil {
				out = append(out, s.Items.faults(item, fmt.Sprintf("%s[%d]", path, i))...)
			}
		}
	}
	return out
}

func kindOf(v any) string {
	switch v := v.(type) {
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case bool:
		return "boolean"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
		return "number"
	default:
		return "string"
	}
}

// TestTheSchemaTakesWhatIsPrinted: an editor that checks weir.yaml by the schema
// must not complain of what weir itself prints, nor of what it takes.
func TestTheSchemaTakesWhatIsPrinted(t *testing.T) {
	raw, err := config.Schema()
	if err != nil {
		t.Fatal(err)
	}
	var s jsonSchema
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	check := func(what string, text []byte) []string {
		t.Helper()
		var tree any
		if err := yaml.Unmarshal(text, &tree); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		b, err := json.Marshal(tree)
		if err == nil {
			err = json.Unmarshal(b, &tree)
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return s.faults(tree, "")
	}
	const full = `
sites: [{name: shop, hosts: ["*"], upstream: "http://127.0.0.1:9", routes: [{match: {path: /a}, fail: closed, bodyLimit: 1MiB}]}]
allowlists: [{name: office, clients: [198.51.100.0/24], reason: ours, expires: "2027-01-01"}]
collect: {accessLogs: [{path: /var/log/a.log, format: combined, site: shop}]}
sinks: [{name: siem, type: file, format: ocsf, path: x}]
enforce: {mode: "${WEIR_MODE:-shadow}"}
`
	for what, text := range map[string]string{"defaults": "kind: Config\n", "much": full} {
		c, err := config.Parse("weir.yaml", []byte(text), env())
		if err != nil {
			t.Fatal(err)
		}
		var printed bytes.Buffer
		if err := c.Print(&printed); err != nil {
			t.Fatal(err)
		}
		for _, fault := range append(check(what, []byte(text)), check(what, printed.Bytes())...) {
			t.Errorf("%s: %s", what, fault)
		}
	}
	for what, text := range map[string]string{
		"a key": "enforcee: {}", "a mode": "enforce: {mode: on}", "a duration": "retention: {events: soon}", "a list": "sites: {}",
	} {
		if len(check(what, []byte(text))) == 0 {
			t.Errorf("%s that is wrong passes the schema", what)
		}
	}
}
