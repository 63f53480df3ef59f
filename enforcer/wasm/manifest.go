package wasm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"github.com/weirproject/weir/enforcer/wasm/fuel"
)

// ABI is the name of the interface between host and guest.
const ABI = "weir_v1"

// manifestSection is the custom section that holds a module's manifest.
const manifestSection = "weir.manifest"

const maxManifestBytes = 64 << 10

// Manifest is what a module says of itself.
type Manifest struct {
	// ABI is "weir_v1".
	ABI string `json:"abi"`
	// Name and Version identify the policy, in at most 64 bytes of
	// [A-Za-z0-9_.:-].
	Name    string `json:"name"`
	Version string `json:"version"`
	// When is "verdict" (called only for requests that some verdict fits; it
	// must allow any other) or "request" (called for each).
	When string `json:"when"`
	// Fields are the strings of the request that the frame shall carry.
	Fields []string `json:"fields,omitempty"`
	// Rules names the rule numbers of its proposals, at most 1,000; the names
	// are metric labels.
	Rules map[string]string `json:"rules,omitempty"`
	// Fuel per call and MemoryPages lower the host's limits.
	Fuel        int64  `json:"fuel,omitempty"`
	MemoryPages uint32 `json:"memory_pages,omitempty"`

	fields uint16
	rules  map[uint16]string
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,64}$`)

// readManifest takes the manifest out of a module and checks it.
func readManifest(module []byte) (*Manifest, error) {
	raw, err := fuel.Custom(module, manifestSection)
	switch {
	case err != nil:
		return nil, err
	case raw == nil:
		return nil, fmt.Errorf("it has no custom section %s", manifestSection)
	case len(raw) > maxManifestBytes:
		return nil, fmt.Errorf("its manifest has %d bytes, at most %d", len(raw), maxManifestBytes)
	}
	m := &Manifest{rules: map[uint16]string{}}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf("manifest: "+format, args...)) }
	if m.ABI != ABI {
		fault("abi %q, this host speaks %s", m.ABI, ABI)
	}
	if !nameForm.MatchString(m.Name) || !nameForm.MatchString(m.Version) {
		fault("name %q, version %q: want %s", m.Name, m.Version, nameForm)
	}
	if m.When != "verdict" && m.When != "request" {
		fault("when %q, want verdict or request", m.When)
	}
	if m.Fuel < 0 {
		fault("fuel %d", m.Fuel)
	}
	for _, f := range m.Fields {
		i := fieldByName(f)
		if i < 0 {
			fault("field %q, known are %v", f, fieldNames)
			continue
		}
		m.fields |= 1 << i
	}
	if len(m.Rules) > 1000 {
		fault("%d rules, at most 1000", len(m.Rules))
	}
	for k, name := range m.Rules {
		n, err := strconv.ParseUint(k, 10, 16)
		if err != nil || !nameForm.MatchString(name) {
			fault("rule %q: %q, want a number up to 65535 and a name like %s", k, name, nameForm)
			continue
		}
		m.rules[uint16(n)] = name
	}
	return m, errors.Join(errs...)
}

func fieldByName(name string) int {
	for i, n := range fieldNames {
		if n == name {
			return i
		}
	}
	return -1
}
