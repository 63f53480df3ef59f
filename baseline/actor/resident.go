package actor

// A program that few owners have may be a rare browser or an attacker's with aged
// accounts. When strangers overrun it, those who have used it here for long are
// spared by name.

// residents are a program's visitors of long standing: 112 bytes.
type residents struct {
	values [12]uint64
	kinds  [12]Type
	turn   uint8
	_      [3]uint8
}

// reside remembers an old device, or address with a program, of a program that some
// owners have, but not many.
func (r *Resolver) reside(q *Request) {
	p := r.row(Fingerprint)
	if p == nil {
		return
	}
	if n := r.ownersOf(&p.Val, epochOf(q.Now)); n == 0 || n >= many {
		return
	}
	for _, one := range [...]struct {
		t Type
		v uint64
	}{{Device, q.Device}, {Joint, q.Joint}} {
		if row := r.row(one.t); row == nil || q.Now-min(q.Now, row.First) < old {
			continue
		}
		row, _ := r.homes.Get(p.Key, q.Now)
		row.Val.add(one.t, one.v)
	}
}

func (h *residents) add(t Type, v uint64) {
	for i, have := range h.values {
		if have == v && h.kinds[i] == t {
			return
		}
	}
	i := int(h.turn) % len(h.values)
	h.values[i], h.kinds[i] = v, t
	h.turn = uint8(i + 1)
}

// Residents calls f for the visitors of long standing that use a program which few
// owners have: the devices and the addresses with it that it was seen with last.
func (r *Resolver) Residents(site uint16, fingerprint uint64, f func(Type, uint64)) {
	row := r.homes.Find(typed(site, Fingerprint, fingerprint))
	if row == nil {
		return
	}
	for i, v := range row.Val.values {
		if v != 0 {
			f(row.Val.kinds[i], v)
		}
	}
}
