package ocsf_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// schema is the uncompiled OCSF schema: file name -> content. It resolves what
// the OCSF compiler does: extends, $include, profiles, dictionary defaults.
type schema struct {
	files map[string]*entity
	// byName finds a class or object by its name.
	byName map[string]*entity
	dict   map[string]attribute
	types  map[string]primitive
	// resolved keeps the attributes of entities.
	resolved map[*entity]map[string]attribute
}

type entity struct {
	UID         *int                       `json:"uid"`
	Name        string                     `json:"name"`
	Extends     string                     `json:"extends"`
	Category    string                     `json:"category"`
	Raw         map[string]json.RawMessage `json:"attributes"`
	Constraints map[string][]string        `json:"constraints"`
	Types       *struct {
		Attributes map[string]primitive `json:"attributes"`
	} `json:"types"`
}

type primitive struct {
	Type       string `json:"type"`
	Observable *int   `json:"observable"`
	MaxLen     int    `json:"max_len"`
	Range      []int  `json:"range"`
	Caption    string `json:"caption"`
}

type enumValue struct {
	Caption string `json:"caption"`
}

// attribute is one attribute, dictionary and class merged.
type attribute struct {
	Type        string               `json:"type"`
	IsArray     bool                 `json:"is_array"`
	Requirement string               `json:"requirement"`
	Enum        map[string]enumValue `json:"enum"`
	Sibling     string               `json:"sibling"`
	Observable  *int                 `json:"observable"`
	Caption     string               `json:"caption"`
	// profile gates the attribute: it exists only where the profile is applied.
	profile string
}

func (a attribute) applies(profiles []string) bool {
	return a.profile == "" || slices.Contains(profiles, a.profile)
}

func loadSchema(tb testing.TB) *schema {
	tb.Helper()
	raw, err := os.ReadFile("testdata/ocsf-1.9.0-dev/schema.json")
	if err != nil {
		tb.Fatal(err)
	}
	s := &schema{byName: map[string]*entity{}, dict: map[string]attribute{}, resolved: map[*entity]map[string]attribute{}}
	if err := json.Unmarshal(raw, &s.files); err != nil {
		tb.Fatal(err)
	}
	for file, e := range s.files {
		if strings.HasPrefix(file, "events/") || strings.HasPrefix(file, "objects/") {
			s.byName[e.Name] = e
		}
	}
	d := s.files["dictionary.json"]
	s.types = d.Types.Attributes
	for name, raw := range d.Raw {
		var a attribute
		if err := json.Unmarshal(raw, &a); err != nil {
			tb.Fatal(name, err)
		}
		s.dict[name] = a
	}
	if len(s.dict) < 200 || len(s.types) < 20 || len(s.byName) < 20 {
		tb.Fatalf("the schema holds %d attributes, %d types, %d classes and objects", len(s.dict), len(s.types), len(s.byName))
	}
	return s
}

// attributes resolves an entity: parent first, then includes, then its own.
func (s *schema) attributes(e *entity) (map[string]attribute, error) {
	out := map[string]attribute{}
	if e.Extends != "" {
		parent, ok := s.byName[e.Extends]
		if !ok {
			return nil, fmt.Errorf("%s extends %s, which the extract lacks", e.Name, e.Extends)
		}
		inherited, err := s.attributes(parent)
		if err != nil {
			return nil, err
		}
		maps.Copy(out, inherited)
	}
	if inc, ok := e.Raw["$include"]; ok {
		var files []string
		if err := json.Unmarshal(inc, &files); err != nil {
			return nil, err
		}
		for _, f := range files {
			p, ok := s.files[f]
			if !ok {
				return nil, fmt.Errorf("%s includes %s, which the extract lacks", e.Name, f)
			}
			if err := s.merge(out, p.Raw, p.Name); err != nil {
				return nil, err
			}
		}
	}
	return out, s.merge(out, e.Raw, "")
}

// merge lays an entity's own statements over what is known of its attributes.
func (s *schema) merge(out map[string]attribute, raw map[string]json.RawMessage, profile string) error {
	for name, r := range raw {
		if name == "$include" {
			continue
		}
		a, known := out[name]
		if !known {
			a = s.dict[name]
			a.profile = profile
		} else if profile == "" {
			a.profile = ""
		}
		enum := a.Enum
		a.Enum = nil
		if err := json.Unmarshal(r, &a); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if enum != nil {
			merged := maps.Clone(enum)
			maps.Copy(merged, a.Enum)
			a.Enum = merged
		}
		out[name] = a
	}
	return nil
}

// validate checks a document of a class.
func (s *schema) validate(class string, raw []byte) error {
	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		return err
	}
	profiles := []string{}
	if m, ok := doc["metadata"].(map[string]any); ok {
		list, _ := m["profiles"].([]any)
		for _, p := range list {
			profiles = append(profiles, fmt.Sprint(p))
		}
	}
	e := s.byName[class]
	var faults []string
	s.object(e, doc, profiles, "", &faults)
	category, _ := s.category(e)
	wantClass := category*1000 + *e.UID
	activity, _ := doc["activity_id"].(float64)
	for name, want := range map[string]int{"category_uid": category, "class_uid": wantClass, "type_uid": wantClass*100 + int(activity)} {
		if doc[name] != float64(want) {
			faults = append(faults, fmt.Sprintf("%s is %v, want %d", name, doc[name], want))
		}
	}
	if len(faults) > 0 {
		slices.Sort(faults)
		return fmt.Errorf("%s", strings.Join(faults, "\n"))
	}
	return nil
}

// category returns the category number of a class, which may be its parent's.
func (s *schema) category(e *entity) (int, error) {
	for ; e != nil; e = s.byName[e.Extends] {
		if e.Category == "" {
			continue
		}
		var c struct {
			UID int `json:"uid"`
		}
		err := json.Unmarshal(s.files["categories.json"].Raw[e.Category], &c)
		return c.UID, err
	}
	return 0, errors.New("no category")
}

func (s *schema) object(e *entity, doc map[string]any, profiles []string, path string, faults *[]string) {
	fault := func(format string, args ...any) { *faults = append(*faults, path+fmt.Sprintf(format, args...)) }
	attrs, ok := s.resolved[e]
	if !ok {
		var err error
		if attrs, err = s.attributes(e); err != nil {
			fault("%v", err)
			return
		}
		s.resolved[e] = attrs
	}
	for name, a := range attrs {
		if !a.applies(profiles) {
			continue
		}
		if v, present := doc[name]; a.Requirement == "required" && (!present || v == nil) {
			fault("%s is required", name)
		}
	}
	for name, v := range doc {
		a, ok := attrs[name]
		if !ok || !a.applies(profiles) {
			fault("%s is not an attribute of %s", name, e.Name)
			continue
		}
		s.value(name, a, v, doc, profiles, path+name, faults)
	}
	for rule, names := range s.constraints(e) {
		n := 0
		for _, name := range names {
			if _, ok := doc[name]; ok {
				n++
			}
		}
		if n == 0 || rule == "just_one" && n > 1 {
			fault("%s of %v is wanted", rule, names)
		}
	}
}

// constraints are inherited unless restated.
func (s *schema) constraints(e *entity) map[string][]string {
	for ; e != nil; e = s.byName[e.Extends] {
		if e.Constraints != nil {
			return e.Constraints
		}
	}
	return nil
}

func (s *schema) value(name string, a attribute, v any, doc map[string]any, profiles []string, path string, faults *[]string) {
	fault := func(format string, args ...any) { *faults = append(*faults, path+": "+fmt.Sprintf(format, args...)) }
	if a.IsArray {
		list, ok := v.([]any)
		if !ok {
			fault("want an array, got %T", v)
			return
		}
		a.IsArray = false
		for i, x := range list {
			s.value(name, a, x, doc, profiles, path+"["+strconv.Itoa(i)+"]", faults)
		}
		return
	}
	if _, isPrimitive := s.types[a.Type]; !isPrimitive {
		m, ok := v.(map[string]any)
		if !ok {
			fault("want an object %s, got %T", a.Type, v)
			return
		}
		if a.Type == "object" { // any keys
			return
		}
		e, ok := s.byName[a.Type]
		if !ok {
			fault("the extract lacks the object %s", a.Type)
			return
		}
		s.object(e, m, profiles, path+".", faults)
		return
	}
	if err := s.primitive(a.Type, v); err != nil {
		fault("%v", err)
	}
	s.enum(name, a, v, doc, fault)
}

// enum checks a closed set of values, and that the caption beside it agrees.
func (s *schema) enum(name string, a attribute, v any, doc map[string]any, fault func(string, ...any)) {
	if name == "category_uid" || name == "class_uid" {
		return // the compiler fills their enums from the class; validate compares
	}
	values := a.Enum
	if name == "type_id" && doc["value"] != nil && doc["name"] != nil && values["0"].Caption == "Unknown" { // observable: numbers stand in the dictionary
		values = map[string]enumValue{}
		for _, d := range s.dict {
			if d.Observable != nil {
				values[strconv.Itoa(*d.Observable)] = enumValue{d.Caption}
			}
		}
		for _, p := range s.types {
			if p.Observable != nil {
				values[strconv.Itoa(*p.Observable)] = enumValue{p.Caption}
			}
		}
		a.Sibling = "type"
	}
	if len(values) == 0 {
		return
	}
	key := fmt.Sprint(v)
	if f, ok := v.(float64); ok {
		key = strconv.Itoa(int(f))
	}
	e, ok := values[key]
	if !ok {
		fault("%v is not in its enum", v)
		return
	}
	if caption, ok := doc[a.Sibling]; ok && a.Sibling != "" && caption != e.Caption && key != "99" {
		fault("%s is %q, and %s %q", name, e.Caption, a.Sibling, caption)
	}
}

func (s *schema) primitive(typ string, v any) error {
	p := s.types[typ]
	base := typ
	for s.types[base].Type != "" {
		base = s.types[base].Type
	}
	switch base {
	case "string_t":
		str, ok := v.(string)
		if !ok {
			return fmt.Errorf("want a string, got %T", v)
		}
		if p.MaxLen > 0 && len(str) > p.MaxLen {
			return fmt.Errorf("%d bytes, at most %d", len(str), p.MaxLen)
		}
		if typ == "ip_t" {
			if _, err := netip.ParseAddr(str); err != nil {
				return err
			}
		}
	case "integer_t", "long_t":
		f, ok := v.(float64)
		if !ok || f != math.Trunc(f) {
			return fmt.Errorf("want an integer, got %v", v)
		}
		if len(p.Range) == 2 && (int(f) < p.Range[0] || int(f) > p.Range[1]) {
			return fmt.Errorf("%v is outside %v", f, p.Range)
		}
	case "boolean_t":
		if _, ok := v.(bool); !ok {
			return fmt.Errorf("want true or false, got %T", v)
		}
	case "float_t":
		if _, ok := v.(float64); !ok {
			return fmt.Errorf("want a number, got %T", v)
		}
	case "json_t":
	default:
		return fmt.Errorf("type %s is not known to this validator", typ)
	}
	return nil
}
