package scoreboard

// limit says, for a threat at the hard level, what stops the engine there and which
// signal that it does not have would move it.
type limit struct{ threat, stopped, signal string }

// limited is the share of attempts acted on under which a threat's limit is told.
const limited = 0.6

// limits were written from the campaigns of bots.Hard as the engine sees them; how far
// an oracle gets with the same inputs is measured beside them.
var limits = []limit{
	{"OAT-004", "one request per visit, and the visit is over: nothing that it carries comes back. The paths tell, but a verdict cannot bind a path that a person may mistype.", "a verdict that binds a route nobody has an answer from, at the site's scope; a decoy path"},
	{"OAT-005", "the first polls of each visit are those of somebody who wants the article; an opening is over in 40 seconds.", "the age of the session at the opening, told by the application; a queue or a lot drawn before it"},
	{"OAT-006", "the pace shows after two or three steps of five, and the visit never comes back. What it does at each step is what people do.", "pointer and key events of the form; the time to the first byte of the next step's page"},
	{"OAT-007", "a guess every three hours and account, each from a new home: an account's first five or six cannot be told from its owner who forgot.", "whether the guessed secret is in a known leak; mail or push to the owner at the first strange failure"},
	{"OAT-008", "an account is tried once, from a new home, and never again: no identifier is there twice.", "a keyed hash of the secret across accounts beyond one collector's memory; lists of leaked pairs; device attestation"},
	{"OAT-009", "two solved tests per visit in the time that people take; the farm's even pace shows over visits only, and no identifier joins them.", "the test's own risk score, and the address that solved it"},
	{"OAT-011", "six pages per visit by a real browser at a person's pace: what is read is known only when all visits are put together.", "decoy links, watermarks in prices; who else reads the same pages in the same order (a cohort of content, not of clients)"},
	{"OAT-012", "the password is right and the account is new to the place; half of the attempts are the log-in and come before the payee is known.", "whether the owner was told and confirmed; the payee's age at the bank"},
	{"OAT-013", "one bid per visit. That it comes within three seconds of the end tells nearly all of it (see the oracle), but a verdict binds what a request carries, not how late it is.", "a bind on the time left before the object closes, which the enforcer can compute"},
	{"OAT-014", "two payloads per visit: one is what a person may paste, and with the second the visit is over. Blocking a payload by itself is a web application firewall's task, which is not done here.", "the application's answer to the payload (errors, times) as an outcome of its own; a policy that refuses payloads"},
	{"OAT-015", "three costly requests per visit, from new homes: each is what the page is for.", "a budget of costly work for all strangers together (a site-scope limit by cost)"},
	{"OAT-018", "four missing paths per visit, of the kind that old links have.", "decoy paths; a verdict that binds routes nobody has an answer from, at the site's scope"},
	{"OAT-020", "right passwords, three accounts per visit, from new homes: the owners have agreed, or have not.", "consent by a token of the intermediary's own"},
}

// writeLimits lists the limits of the rows under limited.
func writeLimits(p *printer, rows []Row) {
	head := false
	for i := range rows {
		for _, l := range limits {
			if l.threat != rows[i].Threat || rows[i].Acted() >= limited {
				continue
			}
			if !head {
				p.line("")
				p.line("| threat | what stops the engine | which further signal would move it |")
				p.line("|---|---|---|")
				head = true
			}
			p.line("| %s | %s | %s |", l.threat, l.stopped, l.signal)
		}
	}
}
