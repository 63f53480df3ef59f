package flow

import (
	"sync"
	"sync/atomic"

	"github.com/weirproject/weir/stream/event"
)

// owners remembers which account a session was proven to belong to, because
// the application vouched for it or accepted its credentials (and, in a second
// use, with which account a secret failed first). It is bounded:
// each shard is a clock of fixed size that evicts sessions not used since the
// hand last passed, in an order that depends on the input alone.
type owners struct {
	shards [ownerShards]ownerShard
	size   int // slots per shard
	// version rises with every change of who owns what.
	version atomic.Uint64
}

const ownerShards = 64

type ownerShard struct {
	mu    sync.Mutex
	index map[event.Hash]uint32
	slots []ownerSlot
	hand  int
}

type ownerSlot struct {
	session, account event.Hash
	used             bool
}

func newOwners(sessions int) *owners {
	return &owners{size: max(sessions/ownerShards, 1)}
}

func (o *owners) shard(session event.Hash) *ownerShard { return &o.shards[session%ownerShards] }

// get returns the proven owner of a session, or 0.
func (o *owners) get(session event.Hash) event.Hash {
	if session == 0 {
		return 0
	}
	s := o.shard(session)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.index[session]
	if !ok {
		return 0
	}
	s.slots[i].used = true
	return s.slots[i].account
}

// set makes account the owner of session.
func (o *owners) set(session, account event.Hash) {
	if session == 0 || account == 0 {
		return
	}
	s := o.shard(session)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, ok := s.index[session]; ok {
		if s.slots[i].account != account {
			o.version.Add(1)
		}
		s.slots[i].account, s.slots[i].used = account, true
		return
	}
	o.version.Add(1)
	if s.index == nil {
		s.index = map[event.Hash]uint32{}
	}
	slot := ownerSlot{session: session, account: account}
	if len(s.slots) < o.size {
		s.index[session] = uint32(len(s.slots))
		s.slots = append(s.slots, slot)
		return
	}
	for s.slots[s.hand].used {
		s.slots[s.hand].used = false
		s.hand = (s.hand + 1) % len(s.slots)
	}
	delete(s.index, s.slots[s.hand].session)
	s.slots[s.hand] = slot
	s.index[session] = uint32(s.hand)
	s.hand = (s.hand + 1) % len(s.slots)
}

// forget ends what is known of a session (logout).
func (o *owners) forget(session event.Hash) {
	if session == 0 {
		return
	}
	s := o.shard(session)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, ok := s.index[session]; ok {
		delete(s.index, session)
		s.slots[i] = ownerSlot{}
		o.version.Add(1)
	}
}

// copy appends the sessions of a shard in the order of their slots.
func (s *ownerShard) copy(dst []ownerSlot) []ownerSlot {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, slot := range s.slots {
		if slot.session != 0 {
			dst = append(dst, slot)
		}
	}
	return dst
}
