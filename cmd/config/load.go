package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weirproject/weir/stream/flow"
)

// SearchPaths are the files that are tried when none is named.
var SearchPaths = []string{"weir.yaml", "/etc/weir/weir.yaml"}

// Loaded is a valid configuration with where it came from.
type Loaded struct {
	Config
	// Files were read, in order: weir.yaml and weir.yaml.local where there is
	// one; none when the defaults alone hold.
	Files []string
	// Maps are the flow maps by site.
	Maps map[string]*flow.Map
}

// Find returns the file to load: the named one, else the first of SearchPaths
// that exists, else "".
func Find(named string) string {
	if named != "" {
		return named
	}
	for _, p := range SearchPaths {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return ""
}

// Load reads a configuration with its local override and its flow maps. An
// empty path gives the defaults. lookup is the environment (os.LookupEnv). The
// error joins all faults, each a *FileError with file and line.
func Load(path string, lookup func(string) (string, bool)) (*Loaded, error) {
	out := &Loaded{Config: Default(), Maps: map[string]*flow.Map{}}
	d := &decoder{lookup: lookup, positions: map[string]position{}}
	if path != "" {
		for _, file := range []string{path, path + ".local"} {
			text, err := readFile(file)
			if errors.Is(err, os.ErrNotExist) && file != path {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("read configuration: %w", err)
			}
			d.file = file
			d.parse(text, &out.Config)
			out.Files = append(out.Files, file)
		}
	}
	d.nobody(&out.Config)
	out.complete()
	d.place(path, out.check())
	if err := d.error(); err != nil {
		return nil, err
	}
	if err := out.locate(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := out.loadMaps(d); err != nil {
		return nil, err
	}
	return out, nil
}

// locate makes the files that stand beside the configuration absolute, so that
// they are found from wherever what is in effect is written to.
func (l *Loaded) locate(dir string) error {
	files := []*string{&l.Lookup.ASN, &l.Lookup.VerifiedBots}
	for i := range l.Sites {
		files = append(files, &l.Sites[i].Flows)
	}
	for _, f := range files {
		if *f == "" || filepath.IsAbs(*f) {
			continue
		}
		full, err := filepath.Abs(filepath.Join(dir, *f))
		if err != nil {
			return fmt.Errorf("path %s: %w", *f, err)
		}
		*f = full
	}
	return nil
}

// DataDir is the data directory that a configuration names, also one with faults
// elsewhere: what runs must be reachable while its configuration is mended.
func DataDir(path string, lookup func(string) (string, bool)) string {
	c := Default()
	d := &decoder{lookup: lookup, positions: map[string]position{}}
	for _, file := range []string{path, path + ".local"} {
		if text, err := readFile(file); err == nil {
			d.file = file
			before := len(d.faults)
			d.parse(text, &c)
			if len(d.faults) == before {
				continue
			}
			// Text that is no YAML still has lines.
			for line := range bytes.Lines(text) {
				if bytes.HasPrefix(line, []byte("data:")) {
					d.parse(line, &c)
				}
			}
		}
	}
	return c.Data
}

// Parse is Load for text that stands in no file, such as a test's.
func Parse(name string, text []byte, lookup func(string) (string, bool)) (*Config, error) {
	c := Default()
	d := &decoder{file: name, lookup: lookup, positions: map[string]position{}}
	d.parse(text, &c)
	d.nobody(&c)
	c.complete()
	d.place(name, c.check())
	if err := d.error(); err != nil {
		return nil, err
	}
	return &c, nil
}

// LoadMap reads and checks one flow map.
func LoadMap(path string) (*flow.Map, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("read flow map: %w", err)
	}
	return ParseMap(path, text)
}

// ParseMap is LoadMap for text. Flow maps take nothing from the environment.
func ParseMap(name string, text []byte) (*flow.Map, error) {
	m := &flow.Map{}
	d := &decoder{file: name, positions: map[string]position{}}
	d.parse(text, m)
	var faults []*FileError
	for _, f := range m.Check() {
		faults = append(faults, &FileError{Path: f.Path, Text: f.Text})
	}
	d.place(name, faults)
	if err := d.error(); err != nil {
		return nil, err
	}
	return m, nil
}

// readFile reads a file of at most MaxFileBytes.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err == nil && len(text) > MaxFileBytes {
		err = fmt.Errorf("%s: larger than %d bytes", path, MaxFileBytes)
	}
	return text, err
}

// loadMaps reads the sites' flow maps.
func (l *Loaded) loadMaps(d *decoder) error {
	var errs []error
	for i, s := range l.Sites {
		if s.Flows == "" {
			continue
		}
		file, at := s.Flows, fmt.Sprintf("sites[%d].flows", i)
		m, err := LoadMap(file)
		switch {
		case err != nil && errors.Is(err, os.ErrNotExist):
			errs = append(errs, d.at(at, fmt.Sprintf("%v: paths are relative to the directory of the configuration", err)))
		case err != nil:
			errs = append(errs, err)
		case m.Site != s.Name:
			errs = append(errs, d.at(at, fmt.Sprintf("%s is the map of site %q, not of %q", file, m.Site, s.Name)))
		default:
			l.Maps[s.Name] = m
		}
	}
	return errors.Join(errs...)
}

// FlowSites returns the sites as an extractor takes them.
func (l *Loaded) FlowSites() []flow.Site {
	var out []flow.Site
	for _, s := range l.Sites {
		out = append(out, flow.Site{Name: s.Name, Hosts: s.Hosts, Map: l.Maps[s.Name]})
	}
	return out
}

// SetData moves the data directory, and with it the paths that defaulted below
// the old one.
func (l *Loaded) SetData(dir string) {
	old := l.Data
	l.Data = dir
	if l.Keys.Pseudonym == old+defaultKey {
		l.Keys.Pseudonym = dir + defaultKey
	}
	if l.Process.Snapshots == old+defaultSnapshots {
		l.Process.Snapshots = dir + defaultSnapshots
	}
}

// place gives faults the line of their path, or of the nearest key above it.
func (d *decoder) place(file string, faults []*FileError) {
	for _, f := range faults {
		d.faults = append(d.faults, d.at(f.Path, f.Text))
		if last := d.faults[len(d.faults)-1]; last.File == "" {
			last.File = file
		}
	}
}

func (d *decoder) at(path, text string) *FileError {
	f := &FileError{Path: path, Text: text}
	for p := path; ; {
		if pos, ok := d.positions[p]; ok {
			f.File, f.Line = pos.file, pos.line
			return f
		}
		if p == "" {
			return f
		}
		p = p[:max(strings.LastIndexAny(p, ".["), 0)]
	}
}

// nobody refuses a rollout of 0 that was written down: it would read as the
// default, everybody, to whoever meant to act on nobody.
func (d *decoder) nobody(c *Config) {
	fault := func(path string, percent int) {
		if _, written := d.positions[path]; written && percent == 0 {
			d.faults = append(d.faults, d.at(path, "0 would act on nobody: say so with mode: shadow, or leave it out to act on all"))
		}
	}
	for i := range c.Sites {
		at := fmt.Sprintf("sites[%d]", i)
		fault(at+".rollout", c.Sites[i].Rollout)
		for j := range c.Sites[i].Routes {
			fault(fmt.Sprintf("%s.routes[%d].rollout", at, j), c.Sites[i].Routes[j].Rollout)
		}
	}
}

// error joins the faults, in the order of the files' lines, without repeats.
func (d *decoder) error() error {
	slices.SortStableFunc(d.faults, func(a, b *FileError) int {
		if a.File != b.File {
			return strings.Compare(a.File, b.File)
		}
		return a.Line - b.Line
	})
	var errs []error
	seen := map[string]bool{}
	for _, f := range d.faults {
		if text := f.Error(); !seen[text] {
			seen[text] = true
			errs = append(errs, f)
		}
	}
	return errors.Join(errs...)
}
