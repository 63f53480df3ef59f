package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/weirproject/weir/stream/flow"
)

// MaxFileBytes bounds a configuration file or flow map.
const MaxFileBytes = 4 << 20

// maxNodes bounds the nodes of a file after aliases are resolved, so that
// nested aliases cannot multiply.
const maxNodes = 1 << 18

// FileError is one thing wrong in a file; errors of this package join several.
type FileError struct {
	File string
	// Line from 1; 0 when the key does not stand in the file.
	Line int
	// Path is the YAML path ("sites[0].upstream").
	Path string
	Text string
}

func (f *FileError) Error() string {
	where := f.File
	if f.Line > 0 {
		where += ":" + strconv.Itoa(f.Line)
	}
	if f.Path != "" {
		where += ": " + f.Path
	}
	return strings.TrimPrefix(where+": "+f.Text, ": ")
}

// position is where a path stands.
type position struct {
	file string
	line int
}

// decoder fills structs from YAML nodes and remembers where each path stood.
type decoder struct {
	file      string
	lookup    func(string) (string, bool) // environment; nil: no interpolation
	positions map[string]position
	faults    []*FileError
	nodes     int
}

func (d *decoder) fault(n *yaml.Node, path, format string, args ...any) {
	line := 0
	if n != nil {
		line = n.Line
	}
	d.faults = append(d.faults, &FileError{File: d.file, Line: line, Path: path, Text: fmt.Sprintf(format, args...)})
}

// parse reads one YAML document into out, a pointer to a struct. Keys that the
// file does not name keep their value.
func (d *decoder) parse(text []byte, out any) {
	if len(text) > MaxFileBytes {
		d.fault(nil, "", "file of %d bytes, at most %d", len(text), MaxFileBytes)
		return
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if !errors.Is(err, io.EOF) {
			d.syntax(err)
		}
		return // an empty file says nothing
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		d.fault(nil, "", "more than one YAML document")
		return
	}
	if len(doc.Content) == 1 {
		d.value(doc.Content[0], reflect.ValueOf(out).Elem(), "", nil)
	}
}

// syntax turns "yaml: line 3: did not find ..." into a fault with that line.
func (d *decoder) syntax(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	f := &FileError{File: d.file, Text: text}
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, after, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(number); err == nil {
				f.Line, f.Text = n, after
			}
		}
	}
	d.faults = append(d.faults, f)
}

// value decodes a node. trail holds the aliases being resolved.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string, trail []*yaml.Node) {
	if d.nodes++; d.nodes > maxNodes {
		if d.nodes == maxNodes+1 {
			d.fault(n, path, "more than %d values", maxNodes)
		}
		return
	}
	if n.Kind == yaml.AliasNode {
		if slices.Contains(trail, n.Alias) || len(trail) > 16 {
			d.fault(n, path, "alias *%s refers to itself", n.Value)
			return
		}
		d.value(n.Alias, v, path, append(trail, n.Alias))
		return
	}
	d.positions[path] = position{d.file, n.Line}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // "key:" without a value keeps the default
	}
	switch v.Addr().Interface().(type) {
	case *flow.Selectors:
		d.selectors(n, v, path, trail)
		return
	case *flow.Objects:
		d.objects(n, v, path, trail)
		return
	}
	switch {
	case isScalar(v):
		d.scalar(n, v, path)
	case v.Kind() == reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		d.value(n, v.Elem(), path, trail)
	case v.Kind() == reflect.Struct:
		d.mapping(n, v, path, trail)
	case v.Kind() == reflect.Slice:
		d.sequence(n, v, path, trail)
	case v.Kind() == reflect.Map:
		d.stringMap(n, v, path, trail)
	default:
		d.fault(n, path, "cannot be set")
	}
}

// fields maps the keys of a struct type to field indexes, in order.
func fields(t reflect.Type) (names []string, index map[string]int) {
	index = map[string]int{}
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("yaml"); name != "" {
			names = append(names, name)
			index[name] = i
		}
	}
	return names, index
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string, trail []*yaml.Node) {
	if n.Kind != yaml.MappingNode {
		d.fault(n, path, "want keys and values, got %s", describe(n))
		return
	}
	names, index := fields(v.Type())
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		at := join(path, key.Value)
		field, known := index[key.Value]
		switch {
		case key.Tag == "!!merge":
			d.fault(key, path, "merge keys (<<) are not supported")
		case !known:
			d.fault(key, path, "key %q is not known%s", key.Value, flow.Nearest(key.Value, names))
		case seen[key.Value]:
			d.fault(key, path, "key %q stands twice", key.Value)
		default:
			d.value(n.Content[i+1], v.Field(field), at, trail)
			d.enum(n.Content[i+1], v.Type().Field(field), v.Field(field), at)
		}
		seen[key.Value] = true
	}
}

// enum checks a field that has a closed list of values.
func (d *decoder) enum(n *yaml.Node, f reflect.StructField, v reflect.Value, path string) {
	list := f.Tag.Get("enum")
	if list == "" || v.Kind() != reflect.String || v.String() == "" {
		return
	}
	if values := strings.Split(list, ","); !slices.Contains(values, v.String()) {
		d.fault(n, path, "%q is none of %s%s", v.String(), strings.Join(values, ", "), flow.Nearest(v.String(), values))
	}
}

func (d *decoder) sequence(n *yaml.Node, v reflect.Value, path string, trail []*yaml.Node) {
	if n.Kind != yaml.SequenceNode {
		d.fault(n, path, "want a list, got %s", describe(n))
		return
	}
	out := reflect.MakeSlice(v.Type(), 0, min(len(n.Content), 1024))
	for i, item := range n.Content {
		one := reflect.New(v.Type().Elem()).Elem()
		d.value(item, one, fmt.Sprintf("%s[%d]", path, i), trail)
		out = reflect.Append(out, one)
	}
	v.Set(out)
}

func (d *decoder) stringMap(n *yaml.Node, v reflect.Value, path string, trail []*yaml.Node) {
	if n.Kind != yaml.MappingNode {
		d.fault(n, path, "want keys and values, got %s", describe(n))
		return
	}
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		one := reflect.New(v.Type().Elem()).Elem()
		if v.MapIndex(reflect.ValueOf(key)).IsValid() && d.positions[join(path, key)].file == d.file {
			d.fault(n.Content[i], path, "key %q stands twice", key)
		}
		d.value(n.Content[i+1], one, join(path, key), trail)
		v.SetMapIndex(reflect.ValueOf(key), one)
	}
}

// selectors reads one selector or a list.
func (d *decoder) selectors(n *yaml.Node, v reflect.Value, path string, trail []*yaml.Node) {
	if n.Kind != yaml.ScalarNode {
		d.sequence(n, v, path, trail)
		return
	}
	one := reflect.New(reflect.TypeFor[string]()).Elem()
	d.scalar(n, one, path)
	v.Set(reflect.ValueOf(flow.Selectors{one.String()}))
}

// objects reads the objects of a route in the order of the file.
func (d *decoder) objects(n *yaml.Node, v reflect.Value, path string, trail []*yaml.Node) {
	if n.Kind != yaml.MappingNode {
		d.fault(n, path, "want names and selectors, got %s", describe(n))
		return
	}
	var out flow.Objects
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i].Value
		o := flow.NamedSelectors{Name: name}
		d.value(n.Content[i+1], reflect.ValueOf(&o.Selectors).Elem(), join(path, name), trail)
		out = append(out, o)
	}
	v.Set(reflect.ValueOf(out))
}

func isScalar(v reflect.Value) bool {
	switch v.Interface().(type) {
	case netip.Prefix, time.Time:
		return true
	}
	switch v.Kind() {
	case reflect.String, reflect.Bool, reflect.Float64, reflect.Int, reflect.Int64, reflect.Uint16, reflect.Uint32:
		return true
	default:
		return false
	}
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.ScalarNode {
		d.fault(n, path, "want a value, got %s", describe(n))
		return
	}
	text, err := interpolate(n.Value, d.lookup)
	if err == nil {
		err = setScalar(v, text)
	}
	if err != nil {
		d.fault(n, path, "%v", err)
	}
}

// setScalar converts text to the type of v.
func setScalar(v reflect.Value, text string) (err error) {
	switch p := v.Addr().Interface().(type) {
	case *Duration:
		*p, err = ParseDuration(text)
		return err
	case *Size:
		*p, err = ParseSize(text)
		return err
	case *netip.Prefix:
		*p, err = parsePrefix(text)
		return err
	case *time.Time:
		*p, err = parseTime(text)
		return err
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		switch strings.ToLower(text) {
		case "true", "on", "yes":
			v.SetBool(true)
		case "false", "off", "no":
			v.SetBool(false)
		default:
			return fmt.Errorf("%q is neither true nor false", text)
		}
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%q is no number", text)
		}
		v.SetFloat(f)
	case reflect.Uint16, reflect.Uint32:
		u, err := strconv.ParseUint(text, 10, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is no whole number between 0 and %d", text, uint64(1)<<v.Type().Bits()-1)
		}
		v.SetUint(u)
	default:
		i, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is no whole number", text)
		}
		v.SetInt(i)
	}
	return nil
}

// parsePrefix reads a network, or an address, which is a network of one.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is no address or network such as 198.51.100.0/24", s)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%q has bits set beyond its length: did you mean %q?", s, p.Masked())
	}
	return p, nil
}

func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time such as 2026-12-31 or 2026-12-31T18:00:00Z", s)
}

// interpolate replaces ${NAME} and ${NAME:-default}; $$ stands for one $ before
// a brace. The variable's value is not interpolated again and never shown.
func interpolate(s string, lookup func(string) (string, bool)) (string, error) {
	if lookup == nil || !strings.Contains(s, "${") {
		return s, nil
	}
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(s, "${")
		if !found {
			out.WriteString(s)
			return out.String(), nil
		}
		if escaped, ok := strings.CutSuffix(before, "$"); ok {
			out.WriteString(escaped + "${")
			s = rest
			continue
		}
		out.WriteString(before)
		inside, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", errors.New("\"${\" without its closing brace")
		}
		name, fallback, hasDefault := strings.Cut(inside, ":-")
		if name == "" || strings.ContainsAny(name, " ${") {
			return "", fmt.Errorf("${%s} is no variable: want ${NAME} or ${NAME:-default}", inside)
		}
		value, ok := lookup(name)
		switch {
		case hasDefault && value == "":
			value = fallback
		case !ok && !hasDefault:
			return "", fmt.Errorf("environment variable %s is not set: set it, or give a default as ${%s:-...}", name, name)
		}
		out.WriteString(value)
		s = after
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	default:
		return "a single value"
	}
}
