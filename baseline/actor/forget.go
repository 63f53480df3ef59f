package actor

// What an application hands out, a session or a device, a person's browser brings back
// with its next request. A tool that drops it and logs in to one account after the
// other looks like the people of an office by its number of accounts, but they do not
// come within seconds of each other, none of them with what it was given.
const (
	// forgotten is how many sessions in a row must have been handed out at an address
	// to a program, and not been brought back, for whoever comes from there without
	// one to be one client.
	forgotten = 4
	// haste is the longest gap between two of its requests, in seconds: behind a
	// carrier's address people with an app that keeps nothing follow more slowly.
	haste = 20
)

// forgetful says that an address with a program is that of one client that drops what
// it is given.
func (id *identifier) forgetful() bool { return id.mark >= forgotten }

// cookieless says that a request brings nothing that the application has handed out.
func (q *Request) cookieless() bool {
	return q.Device == 0 && (q.Session == 0 || q.SessionGuessed)
}

// dropping says that a request is by a client that drops what it is given.
func (r *Resolver) dropping(q *Request) bool {
	j := r.rows[Joint]
	return j != nil && j.Val.forgetful() && q.cookieless() && q.Now-min(q.Now, j.Seen) <= haste
}

// forget counts the sessions that are handed out where the request of an actor comes
// from. It must run before the address is pointed at its actor. Where one is brought back
// after all, they were people; on a young site, which knows nothing else of them, they
// part again.
func (r *Resolver) forget(q *Request, actor uint32) {
	j := r.row(Joint)
	if j == nil {
		return
	}
	if !q.cookieless() && j.Val.forgetful() && !q.Mature && r.live(&j.Val) == actor {
		r.Dissolve(actor)
	}
	if !q.cookieless() || q.Now-min(q.Now, j.Seen) > haste {
		j.Val.mark = 0
	}
	if q.cookieless() && (q.NewSession != 0 || q.NewDevice != 0) && j.Val.mark < forgotten {
		j.Val.mark++
	}
}
