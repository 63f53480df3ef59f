package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

// hidden stands for a secret in what is printed.
const hidden = "(hidden)"

// Print writes the configuration in effect as YAML, secrets hidden. Without
// secrets in it, the output is a configuration that means the same.
func (c *Config) Print(w io.Writer) error { return c.encode(w, true) }

// PrintJSON is Print in JSON.
func (c *Config) PrintJSON(w io.Writer) error {
	var text bytes.Buffer
	if err := c.encode(&text, true); err != nil {
		return err
	}
	var v any
	if err := yaml.Unmarshal(text.Bytes(), &v); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// WriteFile writes the configuration in effect with its secrets to a file that
// only its owner can read: what weir up hands to its parts.
func (c *Config) WriteFile(path string) error {
	var b bytes.Buffer
	if err := c.encode(&b, false); err != nil {
		return err
	}
	return replaceFile(path, b.Bytes())
}

// WriteMapFile writes a flow map, as it was checked, to a file that only its
// owner can read.
func WriteMapFile(path string, m *flow.Map) error {
	var b bytes.Buffer
	if err := WriteMap(&b, m, MapNotes{}); err != nil {
		return err
	}
	return replaceFile(path, b.Bytes())
}

// replaceFile writes a file (0600) that is never seen half written.
func replaceFile(path string, text []byte) error {
	tmp := path + ".tmp"
	err := os.WriteFile(tmp, text, 0o600)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

func (c *Config) encode(w io.Writer, hide bool) error {
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(node(reflect.ValueOf(*c), false, hide)); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	return enc.Close()
}

// node builds the YAML of a value.
func node(v reflect.Value, secret, hide bool) *yaml.Node {
	if text, ok := scalarText(v); ok {
		if secret && hide && text != "" {
			text = hidden
		}
		n := &yaml.Node{}
		n.SetString(text)
		if v.Kind() != reflect.String || !needsQuotes(text) {
			n.Tag, n.Style = "", 0
		}
		return n
	}
	n := &yaml.Node{}
	switch v.Kind() {
	case reflect.Struct:
		n.Kind = yaml.MappingNode
		for i := range v.NumField() {
			f := v.Type().Field(i)
			name := f.Tag.Get("yaml")
			if t, ok := reflect.TypeAssert[time.Time](v.Field(i)); name == "" || ok && t.IsZero() {
				continue
			}
			n.Content = append(n.Content, text(name), node(v.Field(i), f.Tag.Get("secret") != "", hide))
		}
	case reflect.Map:
		n.Kind = yaml.MappingNode
		var keys []string
		for _, k := range v.MapKeys() {
			keys = append(keys, k.String())
		}
		slices.Sort(keys)
		for _, k := range keys {
			n.Content = append(n.Content, text(k), node(v.MapIndex(reflect.ValueOf(k)), secret, hide))
		}
		if len(keys) == 0 {
			n.Style = yaml.FlowStyle
		}
	default:
		n.Kind = yaml.SequenceNode
		for i := range v.Len() {
			n.Content = append(n.Content, node(v.Index(i), secret, hide))
		}
		if v.Len() == 0 || v.Type().Elem().Kind() != reflect.Struct {
			n.Style = yaml.FlowStyle
		}
	}
	return n
}

func text(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}

// needsQuotes reports whether a plain scalar would be read as another type.
func needsQuotes(s string) bool {
	var probe yaml.Node
	if s == "" || yaml.Unmarshal([]byte(s), &probe) != nil || len(probe.Content) != 1 {
		return true
	}
	return probe.Content[0].Kind != yaml.ScalarNode || probe.Content[0].Tag != "!!str"
}

// scalarText writes a scalar as the decoder reads it. A "${" of a value is
// escaped, so that reading it again does not interpolate.
func scalarText(v reflect.Value) (string, bool) {
	switch x := v.Interface().(type) {
	case Duration:
		return x.String(), true
	case Size:
		return x.String(), true
	case netip.Prefix:
		return x.String(), true
	case time.Time:
		return x.Format(time.RFC3339), true
	}
	switch v.Kind() {
	case reflect.String:
		return strings.ReplaceAll(v.String(), "${", "$${"), true
	case reflect.Struct, reflect.Slice, reflect.Map:
		return "", false
	default:
		return fmt.Sprint(v.Interface()), true
	}
}

// Schema returns the JSON schema (draft 2020-12) of weir.yaml.
func Schema() ([]byte, error) {
	return schemaFile("weir configuration", reflect.ValueOf(Default()))
}

// MapSchema returns the JSON schema of flow maps.
func MapSchema() ([]byte, error) {
	return schemaFile("weir flow map", reflect.ValueOf(flow.Map{APIVersion: flow.APIVersion, Kind: flow.MapKind}))
}

func schemaFile(title string, v reflect.Value) ([]byte, error) {
	s := schema(v, reflect.StructField{})
	s["$schema"], s["title"] = "https://json-schema.org/draft/2020-12/schema", title
	return json.MarshalIndent(s, "", "  ")
}

// schema describes a value; v holds the defaults.
func schema(v reflect.Value, f reflect.StructField) map[string]any {
	s := map[string]any{}
	if doc := f.Tag.Get("doc"); doc != "" {
		s["description"] = doc
	}
	str := map[string]any{"type": "string"}
	switch v.Interface().(type) {
	case flow.Selectors:
		s["oneOf"] = []any{str, map[string]any{"type": "array", "items": str}}
		return s
	case flow.Objects:
		s["type"] = "object"
		s["additionalProperties"] = schema(reflect.ValueOf(flow.Selectors{}), reflect.StructField{})
		return s
	}
	if isScalar(v) {
		scalarSchema(s, v, f)
		return s
	}
	switch v.Kind() {
	case reflect.Pointer:
		maps.Copy(s, schema(reflect.New(v.Type().Elem()).Elem(), f))
	case reflect.Struct:
		s["type"], s["additionalProperties"] = "object", false
		properties := map[string]any{}
		for i := range v.NumField() {
			if name := v.Type().Field(i).Tag.Get("yaml"); name != "" {
				properties[name] = schema(v.Field(i), v.Type().Field(i))
			}
		}
		s["properties"] = properties
	case reflect.Map:
		s["type"], s["additionalProperties"] = "object", schema(reflect.New(v.Type().Elem()).Elem(), reflect.StructField{})
	default:
		s["type"], s["items"] = "array", schema(reflect.New(v.Type().Elem()).Elem(), reflect.StructField{})
	}
	return s
}

func scalarSchema(s map[string]any, v reflect.Value, f reflect.StructField) {
	text, _ := scalarText(v)
	// A value may come from the environment, so strings are allowed throughout.
	switch v.Interface().(type) {
	case Duration:
		s["type"], s["pattern"] = "string", `^([0-9]+(\.[0-9]+)?(w|d|h|m|s|ms|us|ns))+$|\$\{`
	case Size:
		s["type"] = []string{"string", "integer"}
	case netip.Prefix, time.Time:
		s["type"] = "string"
		return
	default:
		switch v.Kind() {
		case reflect.String:
			s["type"] = "string"
		case reflect.Bool:
			s["type"] = []string{"boolean", "string"}
		case reflect.Float64:
			s["type"] = []string{"number", "string"}
		default:
			s["type"] = []string{"integer", "string"}
		}
	}
	if !v.IsZero() {
		s["default"] = text
	}
	if list := f.Tag.Get("enum"); list != "" {
		// Empty is as if the key were absent, and what the environment fills in is
		// not known here.
		s["anyOf"] = []any{
			map[string]any{"enum": append(strings.Split(list, ","), "")}, map[string]any{"pattern": `\$\{`},
		}
	}
	if f.Tag.Get("yaml") == "role" {
		s["enum"] = event.RoleNames()
	}
}

// Change is one key that differs between two configurations.
type Change struct {
	Path string
	// Reload: a running process takes it over; otherwise it must be restarted.
	Reload bool
}

// Diff lists what a reload from old to c would change. Lists are compared as a
// whole.
func (c *Config) Diff(old *Config) []Change {
	return diff(reflect.ValueOf(*old), reflect.ValueOf(*c), "", false)
}

func diff(old, now reflect.Value, path string, reload bool) (out []Change) {
	if now.Kind() != reflect.Struct || isScalar(now) {
		if !same(old, now) {
			out = append(out, Change{Path: path, Reload: reload})
		}
		return out
	}
	for i := range now.NumField() {
		f := now.Type().Field(i)
		if name := f.Tag.Get("yaml"); name != "" {
			out = append(out, diff(old.Field(i), now.Field(i), join(path, name), reload || f.Tag.Get("reload") != "")...)
		}
	}
	return out
}

// same compares as a reader of the file does: an empty list is a missing one.
func same(a, b reflect.Value) bool {
	switch {
	case isScalar(a):
		return reflect.DeepEqual(a.Interface(), b.Interface())
	case a.Kind() == reflect.Slice || a.Kind() == reflect.Map:
		if a.Len() == 0 && b.Len() == 0 {
			return true
		}
		if a.Len() != b.Len() || a.Kind() == reflect.Map {
			return reflect.DeepEqual(a.Interface(), b.Interface())
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case a.Kind() == reflect.Struct:
		for i := range a.NumField() {
			if a.Type().Field(i).IsExported() && !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	default:
		return reflect.DeepEqual(a.Interface(), b.Interface())
	}
}
