package actor

// Proved owners vouch for their program: nothing that people use is a tool. So
// an attacker may let a few aged accounts log in with the campaign's program
// first. But people come in proportion: where a program brings more newcomers
// for each of its owners than popular programs do, in forms that few send, its
// few owners are not what explains it, and they stop vouching for it until the
// epoch ends or it has many.
const (
	// many is how many owners a program must have to be beyond doubt; the
	// newcomers of such programs are the measure for the others.
	many = 12
	// few is how many owners of a form still vouch for who sends it with an overrun
	// program: a rare browser's people do.
	few = 5
	// tolerance is how many times as many newcomers per owner are allowed.
	tolerance = 4
	// eighth is one newcomer in identifier.crowd, overrun a program whose owners
	// no longer vouch; spill is the crowd that overruns one.
	eighth  = 8
	spill   = 6 * eighth
	overrun = 255
	// perOwner is one newcomer per owner on the scale of siteState.tide.
	perOwner = 1 << 16
)

// arrive counts a newcomer: somebody without a session or an account, with a
// program that this address has not shown before.
func (r *Resolver) arrive(q *Request) {
	row, place, form := r.row(Fingerprint), r.row(Joint), r.row(Template)
	if row == nil || place == nil || form == nil || place.First != q.Now || !q.Mature || q.SessionGuessed || q.Account != 0 || q.Session != 0 {
		return
	}
	s, id, epoch := r.sites[q.Site], &row.Val, epochOf(q.Now)
	// However few come, a newcomer per owner and day is nothing.
	s.tide += uint32(uint64(min(q.Now-min(q.Now, s.tideAt), 86400)) * perOwner / 86400)
	s.tideAt = q.Now
	if id.crowd == overrun {
		return
	}
	owners := r.ownersOf(id, epoch)
	switch {
	case owners >= many:
		s.tide += uint32(tolerance * perOwner / max(s.proved, many))
		return
	case owners == 0 || r.ownersOf(&form.Val, epoch) >= many:
		return
	}
	sure := uint64(max(4, owners+1)) // a few owners are few by chance
	allowed := uint64(s.tide-id.mark) * uint64(owners+1) * sure / 4 * eighth / perOwner
	id.mark = s.tide
	id.crowd -= uint8(min(uint64(id.crowd), allowed))
	if id.crowd += eighth; id.crowd >= spill {
		id.crowd = overrun
	}
}

// vouchers are the owners of a program that count for a request of a form: all of
// them, none for an overrun program in a form that fewer than few owners send.
func (r *Resolver) vouchers(program, form *row, epoch uint8) uint32 {
	if program.Val.crowd == overrun && (form == nil || r.ownersOf(&form.Val, epoch) < few) {
		return 0
	}
	return r.ownersOf(&program.Val, epoch)
}

// Vouched is how many proved owners vouch for a program that sends a form of
// request.
func (r *Resolver) Vouched(site uint16, fingerprint, template uint64, now uint32) uint32 {
	row := r.ids.Find(typed(site, Fingerprint, fingerprint))
	if row == nil {
		return 0
	}
	return r.vouchers(row, r.ids.Find(typed(site, Template, template)), epochOf(now))
}

// popular says that proved owners vouch for the request's program.
func (r *Resolver) popular(epoch uint8) bool {
	row := r.rows[Fingerprint]
	return row != nil && r.vouchers(row, r.rows[Template], epoch) > 0
}
