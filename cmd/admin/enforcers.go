package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// maxEnforcers bounds the keys of one installation.
	maxEnforcers = 1024
	// maxSessions bounds the connections of one key: a reconnect may overlap with
	// the connection it replaces, a copied key does not multiply.
	maxSessions = 4
	// keyPrefix tells people and secret scanners what a string is.
	keyPrefix = "weir_"
)

// Enforcers are those that follow the feed from other machines: their keys, of
// which only hashes are kept, and how far each has come. Use OpenEnforcers; it
// is safe for concurrent use.
type Enforcers struct {
	path string
	feed *Feed

	mu   sync.Mutex
	all  []*enforcerEntry
	open map[string]map[*session]struct{} // by name

	refused [len(refusals)]atomic.Uint64
}

// refusals are why a connection to the feed was refused.
var refusals = [...]string{"key", "connections"}

const (
	refusedKey = iota
	refusedConnections
)

// enforcerEntry is one key in the file.
type enforcerEntry struct {
	Name    string    `json:"name"`
	KeyHash string    `json:"key_sha256"`
	Created time.Time `json:"created"`
	// Seen, From and Sequence are of the last connection; they are not saved.
	seen     time.Time
	from     string
	sequence string
}

// session is one connection of an enforcer.
type session struct{ end func() }

// Enforcer is what is told of one that enforces.
type Enforcer struct {
	Name string `json:"name"`
	// Via is "feed" for one that follows the feed, "log" for one that reads the
	// topic.
	Via string `json:"via"`
	// State is connected, away, never seen, or of one that reads the topic what
	// its own report says.
	State   string    `json:"state"`
	From    string    `json:"from,omitempty"`
	Created time.Time `json:"created,omitzero"`
	Seen    time.Time `json:"seen,omitzero"`
	// Sequence is how far it has come; Behind how many verdicts (via feed) or
	// records (via log) it still has to get, -1 when that is not known.
	Sequence string `json:"sequence"`
	Behind   int64  `json:"behind"`
	// Verdicts it holds, where it says.
	Verdicts int `json:"verdicts,omitempty"`
}

// EnforcerList answers /v1/enforcers.
type EnforcerList struct {
	// Sequence is how far the feed is.
	Sequence  string     `json:"sequence"`
	Enforcers []Enforcer `json:"enforcers"`
}

// EnforcerKey answers the adding of an enforcer: the only time its key is shown.
type EnforcerKey struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

// EnforcerRequest adds or removes one.
type EnforcerRequest struct {
	Name string `json:"name"`
}

// OpenEnforcers reads the file at path, which need not exist yet.
func OpenEnforcers(path string, feed *Feed) (*Enforcers, error) {
	e := &Enforcers{path: path, feed: feed, open: map[string]map[*session]struct{}{}}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return e, nil
	}
	if err != nil {
		return nil, fmt.Errorf("keys of enforcers: %w", err)
	}
	if err := json.Unmarshal(b, &e.all); err != nil {
		return nil, fmt.Errorf("keys of enforcers: %s: %w (move it away to begin without keys)", path, err)
	}
	return e, nil
}

// Add makes a key for a new enforcer and keeps its hash.
func (e *Enforcers) Add(name string) (EnforcerKey, error) {
	if name == "" || len(name) > 64 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "" {
		return EnforcerKey{}, Errorf(http.StatusBadRequest, "enforcer %q: want letters, digits, - _ or ., at most 64", name)
	}
	var secret [32]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return EnforcerKey{}, fmt.Errorf("key: %w", err)
	}
	key := keyPrefix + base64.RawURLEncoding.EncodeToString(secret[:])
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.find(name) >= 0:
		return EnforcerKey{}, Errorf(http.StatusConflict, "enforcer %s has a key already: `weir enforcers remove %s` first takes that back", name, name)
	case len(e.all) >= maxEnforcers:
		return EnforcerKey{}, Errorf(http.StatusConflict, "there are %d enforcers already", len(e.all))
	}
	next := append(slices.Clone(e.all), &enforcerEntry{Name: name, KeyHash: hashKey(key), Created: time.Now().UTC().Truncate(time.Second)})
	if err := e.save(next); err != nil {
		return EnforcerKey{}, err
	}
	e.all = next
	return EnforcerKey{Name: name, Key: key}, nil
}

// Remove takes a key back and ends its connections.
func (e *Enforcers) Remove(name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := e.find(name)
	if i < 0 {
		return Errorf(http.StatusNotFound, "no enforcer %s has a key: `weir enforcers list` shows those that have", name)
	}
	next := slices.Delete(slices.Clone(e.all), i, i+1)
	if err := e.save(next); err != nil {
		return err
	}
	e.all = next
	for s := range e.open[name] {
		s.end()
	}
	return nil
}

func (e *Enforcers) find(name string) int {
	return slices.IndexFunc(e.all, func(x *enforcerEntry) bool { return x.Name == name })
}

// RefuseConnection counts one that was closed before it said anything.
func (e *Enforcers) RefuseConnection() { e.refused[refusedConnections].Add(1) }

// hashKey is how a key is kept. The key has 256 random bits: a plain hash gives
// nobody a way to guess it.
func hashKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// save replaces the file, so that it is whole after a power loss.
func (e *Enforcers) save(all []*enforcerEntry) error {
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("keys of enforcers: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(e.path), 0o700); err != nil {
		return fmt.Errorf("keys of enforcers: %w", err)
	}
	f, err := os.OpenFile(e.path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("keys of enforcers: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(e.path+".tmp", e.path)
	}
	if err != nil {
		return fmt.Errorf("keys of enforcers: %w", errors.Join(err, os.Remove(e.path+".tmp")))
	}
	return nil
}

// List tells who follows the feed and how far each has come.
func (e *Enforcers) List() EnforcerList {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, newest := e.feed.behind("")
	out := EnforcerList{Sequence: newest, Enforcers: []Enforcer{}}
	for _, x := range e.all {
		one := Enforcer{Name: x.Name, Via: "feed", State: "never seen", From: x.from, Created: x.Created, Seen: x.seen, Sequence: x.sequence}
		switch {
		case len(e.open[x.Name]) > 0:
			one.State, one.Seen = "connected", time.Now().UTC().Truncate(time.Second)
		case !x.seen.IsZero():
			one.State = "away"
		}
		n, _ := e.feed.behind(x.sequence)
		one.Behind = int64(n)
		out.Enforcers = append(out.Enforcers, one)
	}
	return out
}

// ServeHTTP is the feed for those with a key ("Authorization: Bearer KEY").
func (e *Enforcers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	ended := make(chan struct{})
	s := &session{end: sync.OnceFunc(func() { close(ended) })}
	x, err := e.enter(key, r.RemoteAddr, s)
	if err != nil {
		w.Header().Set("WWW-Authenticate", `Bearer realm="weir verdict feed"`)
		JSON(w, nil, err)
		return
	}
	defer e.leave(x, s)
	e.feed.stream(w, r, ended, func(vector string) {
		e.mu.Lock()
		defer e.mu.Unlock()
		x.sequence = vector
	})
}

func (e *Enforcers) enter(key, from string, s *session) (*enforcerEntry, error) {
	hash := hashKey(key) // what is compared is no secret, so its timing tells nothing
	e.mu.Lock()
	defer e.mu.Unlock()
	i := slices.IndexFunc(e.all, func(x *enforcerEntry) bool { return x.KeyHash == hash })
	if i < 0 {
		e.refused[refusedKey].Add(1)
		return nil, Errorf(http.StatusUnauthorized, "the feed needs the key of an enforcer: `weir enforcers add NAME` makes one")
	}
	x := e.all[i]
	if len(e.open[x.Name]) >= maxSessions {
		e.refused[refusedConnections].Add(1)
		return nil, Errorf(http.StatusTooManyRequests, "enforcer %s has %d connections already: give each its own key", x.Name, maxSessions)
	}
	if e.open[x.Name] == nil {
		e.open[x.Name] = map[*session]struct{}{}
	}
	e.open[x.Name][s] = struct{}{}
	x.from, x.seen = from, time.Now().UTC().Truncate(time.Second)
	return x, nil
}

func (e *Enforcers) leave(x *enforcerEntry, s *session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.open[x.Name], s)
	if len(e.open[x.Name]) == 0 {
		delete(e.open, x.Name)
	}
	x.seen = time.Now().UTC().Truncate(time.Second)
}

var (
	connectedDesc = prometheus.NewDesc("weir_feed_enforcers", "Enforcers that have a key of the feed, by state: connected, away.", []string{"state"}, nil)
	refusedDesc   = prometheus.NewDesc("weir_feed_refused_total", "Connections to the feed that were refused, by cause: key, connections.", []string{"cause"}, nil)
)

// Describe implements prometheus.Collector.
func (e *Enforcers) Describe(ch chan<- *prometheus.Desc) {
	ch <- connectedDesc
	ch <- refusedDesc
}

// Collect implements prometheus.Collector.
func (e *Enforcers) Collect(ch chan<- prometheus.Metric) {
	e.mu.Lock()
	connected, all := 0, len(e.all)
	for _, x := range e.all {
		if len(e.open[x.Name]) > 0 {
			connected++
		}
	}
	e.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(connectedDesc, prometheus.GaugeValue, float64(connected), "connected")
	ch <- prometheus.MustNewConstMetric(connectedDesc, prometheus.GaugeValue, float64(all-connected), "away")
	for i, cause := range refusals {
		ch <- prometheus.MustNewConstMetric(refusedDesc, prometheus.CounterValue, float64(e.refused[i].Load()), cause)
	}
}
