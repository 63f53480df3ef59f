package actor

// Hint asks the processor for what is known of a value, which a Resolve needs
// soon; HintAccount does for an account. Both change nothing.
func (r *Resolver) Hint(site uint16, t Type, v uint64) {
	if v != 0 {
		r.ids.Hint(typed(site, t, v))
	}
}

// HintAccount is Hint for the history of an account.
func (r *Resolver) HintAccount(site uint16, account uint64) {
	if account != 0 {
		r.accounts.Hint(typed(site, Owned, account))
	}
}

// Peek asks for the actor that a session was last seen with and returns its
// index, 0 for none. It may have become part of another since.
func (r *Resolver) Peek(site uint16, session uint64) uint32 {
	at := r.ids.FindAt(typed(site, Session, session))
	if at < 0 {
		return 0
	}
	i := r.ids.Look(at).Val.actor
	if i != 0 {
		r.arena.Hint(int(i), 1)
	}
	return i
}
