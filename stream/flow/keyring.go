package flow

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/maphash"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/weirproject/weir/stream/event"
)

// MinKeyBytes is the least length of a pseudonym key, in bytes; generated keys
// have KeyBytes.
const (
	MinKeyBytes = 16
	KeyBytes    = 32
)

// PublicKey is the fixed, public pseudonym key of replays that run without a
// configuration, so that the same input gives identical bytes anywhere. It
// protects nothing and must never be used for live traffic.
var PublicKey = []byte("weir public replay key, no secret")

// Keyring makes pseudonyms: HMAC-SHA-256(key, kind, 0, normalised value)
// truncated to 64 bits. It holds the current key and, while it is being
// replaced, the previous one. It is safe for concurrent use.
type Keyring struct {
	keys []*macKey // current first
}

// macKey is one key with a pool of HMAC states whose padded key blocks are
// already hashed, so that one pseudonym costs two SHA-256 blocks.
type macKey struct {
	id     string
	secret []byte
	pool   sync.Pool
	cache  cache

	dailyMu sync.Mutex
	daily   [4]dailyKey
}

type dailyKey struct {
	day int64 // days since 1970, UTC
	key *macKey
}

type macState struct {
	mac hash.Hash
	buf []byte
	sum [sha256.Size]byte
	// addresses are the pseudonyms of recent clients, by their address's hash.
	addresses [256]addressKeys
	// programs and templates are those of recent requests; 0 in an entry: none.
	programs  [64]programKey
	templates [64]templateKey
}

// addressKeys are the pseudonyms of an address and of its network, and of the
// address with the program that it used last.
type addressKeys struct {
	of          netip.Addr
	client, net event.Hash
	// both is client_fingerprint for fingerprint.
	fingerprint, both event.Hash
}

// programKey is a fingerprint with what it is made of.
type programKey struct {
	ja4, agent  string
	core        uint64
	known       bool // the header fields, and core with them
	fingerprint event.Hash
}

// templateKey is a request_template with what it is made of.
type templateKey struct {
	stable, shape uint64
	absent        byte
	known         bool
	template      event.Hash
}

// NewKeyring makes a ring of the current key and, optionally, the previous
// ones. It keeps copies of the keys.
func NewKeyring(current []byte, previous ...[]byte) (*Keyring, error) {
	var errs []error
	ring := &Keyring{}
	for i, secret := range append([][]byte{current}, previous...) {
		if len(secret) < MinKeyBytes {
			errs = append(errs, fmt.Errorf("pseudonym key %d: %d bytes, want at least %d", i, len(secret), MinKeyBytes))
			continue
		}
		k := newMACKey(secret)
		k.id = keyID(secret)
		if ring.find(k.id) != nil {
			errs = append(errs, fmt.Errorf("pseudonym key %d: same as an earlier one", i))
		}
		ring.keys = append(ring.keys, k)
	}
	if len(ring.keys) > 2 {
		errs = append(errs, fmt.Errorf("%d pseudonym keys: at most two are valid at a time", len(ring.keys)))
	}
	return ring, errors.Join(errs...)
}

// keyID is a public name of a key: it tells keys apart and reveals nothing.
func keyID(secret []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("weir key id"))
	return "k_" + hex.EncodeToString(mac.Sum(nil)[:4])
}

func newMACKey(secret []byte) *macKey {
	k := &macKey{secret: append([]byte(nil), secret...)}
	k.pool.New = func() any { return &macState{mac: hmac.New(sha256.New, k.secret)} }
	k.cache.init()
	return k
}

// KeyID names the current key; it stands on every event.
func (r *Keyring) KeyID() string { return r.keys[0].id }

// KeyIDs names all valid keys, the current one first.
func (r *Keyring) KeyIDs() []string {
	var ids []string
	for _, k := range r.keys {
		ids = append(ids, k.id)
	}
	return ids
}

// Pseudonym hashes a value of a kind ("session", "account", "object:card", ...)
// under the current key after normalising it. An empty value gives 0.
func (r *Keyring) Pseudonym(kind, value string) event.Hash {
	return r.keys[0].hash(kind, Normalise(kind, value))
}

// PseudonymUnder is Pseudonym under the key of that id; false when the ring
// does not hold it.
func (r *Keyring) PseudonymUnder(id, kind, value string) (event.Hash, bool) {
	k := r.find(id)
	if k == nil {
		return 0, false
	}
	return k.hash(kind, Normalise(kind, value)), true
}

func (r *Keyring) find(id string) *macKey {
	for _, k := range r.keys {
		if k.id == id {
			return k
		}
	}
	return nil
}

// Normalise brings a value of a kind into the form that is hashed: accounts
// are trimmed and ASCII lower case, e-mail addresses too; card numbers keep
// their digits only; phone numbers their digits and a leading plus; all else
// loses surrounding white space.
func Normalise(kind, value string) string {
	value = strings.TrimSpace(value)
	name, isObject := strings.CutPrefix(kind, "object:")
	switch {
	case kind == "account" || kind == "target_account":
		return asciiLower(value)
	case !isObject:
		return value
	}
	switch objectClass(name) {
	case classAccount, classEmail:
		return asciiLower(value)
	case classCard:
		return keepDigits(value, false)
	case classPhone:
		return keepDigits(value, true)
	default:
		return value
	}
}

func asciiLower(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= 'A' && c <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				b[i] = lower(b[i])
			}
			return string(b)
		}
	}
	return s
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// keepDigits drops everything but digits (and a leading plus, for which a
// leading 00 stands too); a value without digits stays as it is, so that it
// still has a pseudonym.
func keepDigits(s string, plus bool) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= '0' && c <= '9' || plus && c == '+' && len(b) == 0 {
			b = append(b, c)
		}
	}
	switch {
	case len(b) == 0 || len(b) == 1 && b[0] == '+':
		return s
	case plus && len(b) > 2 && b[0] == '0' && b[1] == '0':
		return "+" + string(b[2:])
	default:
		return string(b)
	}
}

// hash returns the pseudonym of a normalised value; 0 for an empty one.
func (k *macKey) hash(kind, value string) event.Hash {
	if value == "" {
		return 0
	}
	st := k.get()
	st.buf = append(append(append(st.buf[:0], kind...), 0), value...)
	h := k.sum(st)
	k.put(st)
	return h
}

// get borrows a state; its buf is filled by the caller with kind, 0, value.
func (k *macKey) get() *macState   { return k.pool.Get().(*macState) }
func (k *macKey) put(st *macState) { k.pool.Put(st) }

// sum hashes st.buf through the cache.
func (k *macKey) sum(st *macState) event.Hash {
	if len(st.buf) > maxCachedBytes {
		return st.compute()
	}
	id := k.cache.id(st.buf)
	if v, ok := k.cache.get(id); ok {
		return event.Hash(v)
	}
	h := st.compute()
	k.cache.put(id, uint64(h))
	return h
}

// compute hashes st.buf; the absent hash 0 is never a pseudonym.
func (st *macState) compute() event.Hash {
	st.mac.Reset()
	st.mac.Write(st.buf)
	h := event.Hash(binary.BigEndian.Uint64(st.mac.Sum(st.sum[:0])))
	if h == 0 {
		h = 1
	}
	return h
}

// forDay derives the key of a UTC day, under which secrets are hashed: nothing
// that outlives the day can be compared with them. A few days are kept, since
// replays and late events come from more than one.
func (k *macKey) forDay(unixNano int64) *macKey {
	day := unixNano / int64(24*time.Hour)
	if unixNano < 0 && unixNano%int64(24*time.Hour) != 0 {
		day--
	}
	k.dailyMu.Lock()
	defer k.dailyMu.Unlock()
	slot := &k.daily[uint64(day)%uint64(len(k.daily))]
	if slot.key == nil || slot.day != day {
		mac := hmac.New(sha256.New, k.secret)
		mac.Write(binary.BigEndian.AppendUint64([]byte("weir daily key\x00"), uint64(day)))
		*slot = dailyKey{day: day, key: newSecretKey(mac.Sum(nil))}
	}
	return slot.key
}

// newSecretKey makes a key that is used without a cache.
func newSecretKey(secret []byte) *macKey {
	k := &macKey{secret: secret}
	k.pool.New = func() any { return &macState{mac: hmac.New(sha256.New, k.secret)} }
	return k
}

// hashOnce is hash without the cache, for secrets: not even their digest stays
// in memory.
func (k *macKey) hashOnce(kind, value string) event.Hash {
	if value == "" {
		return 0
	}
	st := k.get()
	st.buf = append(append(append(st.buf[:0], kind...), 0), value...)
	h := st.compute()
	clear(st.buf)
	k.put(st)
	return h
}

// cache remembers recent results by a 128-bit keyed digest of their input, so
// that it holds no value in the clear and needs no allocation. Two digests with
// random seeds make a false hit as unlikely as 2^-128 per pair; nobody outside
// the process can construct one. It is bounded: a set of two entries per slot,
// the newer replaces the older.
type cache struct {
	seeds  [2]maphash.Seed
	shards []cacheShard
}

type cacheShard struct {
	mu  sync.Mutex
	set [cacheSets][2]cacheEntry
}

type cacheEntry struct {
	id    cacheID
	value uint64
}

type cacheID [2]uint64

const (
	cacheShards    = 32
	cacheSets      = 128
	maxCachedBytes = 1024
)

func (c *cache) init() {
	c.seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	c.shards = make([]cacheShard, cacheShards)
}

func (c *cache) id(b []byte) cacheID {
	return cacheID{maphash.Bytes(c.seeds[0], b) | 1, maphash.Bytes(c.seeds[1], b)}
}

func (c *cache) get(id cacheID) (uint64, bool) {
	s := &c.shards[id[1]%cacheShards]
	s.mu.Lock()
	set := &s.set[id[1]/cacheShards%cacheSets]
	if set[1].id == id {
		set[0], set[1] = set[1], set[0]
	}
	first := set[0]
	s.mu.Unlock()
	return first.value, first.id == id
}

func (c *cache) put(id cacheID, value uint64) {
	s := &c.shards[id[1]%cacheShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	set := &s.set[id[1]/cacheShards%cacheSets]
	set[1] = set[0]
	set[0] = cacheEntry{id: id, value: value}
}
