package threat

import (
	"github.com/weirproject/weir/baseline/actor"
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/baseline/sketch"
	"github.com/weirproject/weir/stream/event"
)

// oat007 recognises credential cracking: many secrets tried on one or a few
// accounts by one actor, also in turns, or one account attacked from many
// strange places.
//
// Blind spots: offline cracking; a handful of guesses at a human pace; one secret
// over many accounts from as many identities (only the collector sees that the
// secret is the same, and says so for the failures that it remembers).
type oat007 struct{}

func (oat007) Facts() Facts {
	return Facts{
		Threat: "OAT-007", Name: "Credential Cracking", Roles: identityRoles,
		Parts: []string{
			"failed_attempts", "distinct_secrets", "quick_attempts", "returned_targets",
			"account_failures", "account_new_places", "one_secret_for_many_accounts",
		},
		Strongest: event.ActionBlock, Compares: "the site's own people who mistype: failures, changed secrets and pace given the attempts before",
		Verb: "guessed secrets",
	}
}

func (oat007) Observe(o *Observation) {
	in := o.In
	st, a := &in.ActorStep, in.ByActor
	if in.ByObject != nil && in.ObjectStep.Stale {
		return
	}
	// A bounded list of accounts tried over and over; the counter of accounts
	// says nothing of returns once it is nearly full.
	returned := st.Switched && !st.NewObject && a.Objects.Bits() < 40
	spraying := st.Switched && reused(in)
	if spraying {
		p0 := in.Site.Urns[in.Role][feature.UrnReused].Share(0, 0)
		o.Add(Actor, 6, sketch.LogLikelihood(true, 900000, p0), milli(a.Objects.Count()), 1000+int32(p0/1000))
	}
	if st.Tries > 0 && (!st.Switched || returned || spraying || in.Guessed) {
		nats, want := o.Failure(st.N, st.Fail, 970000)
		o.Add(Actor, 0, nats, milli(uint32(a.Fail)), int32(uint32(a.N)*uint32(want)))
		quick := st.Gap >= 0 && st.Gap < 2000
		k := less(a.Quick, quick)
		nats, want = o.Urn(feature.UrnQuick, st.Tries-1, k, quick, switching(st.Tries-1, k))
		o.Add(Actor, 2, max(-300, nats), milli(uint32(a.Quick)), int32(uint32(a.N)*uint32(want)))
		if in.Secret != 0 && !st.Switched {
			k = less(a.NewSecret, st.Changed)
			nats, want = o.Urn(feature.UrnSecret, st.Tries-1, k, st.Changed, switching(st.Tries-1, k))
			o.Add(Actor, 1, nats, milli(a.Secrets.Count()), int32(uint32(a.N)*uint32(want)))
		}
		if returned && (st.Failed || in.Refused) {
			o.Add(Actor, 3, 900, milli(uint32(a.Repeat)), 1000)
		}
	}
	// The account as a target: failures from places it does not know, each new. A
	// refused attempt has no outcome, but somebody new has come.
	if in.ByObject == nil || in.ObjectStep.Overnight || in.Resolution.Familiarity == actor.Familiar || !st.Known && !in.Refused {
		return
	}
	obj, ost := in.ByObject, &in.ObjectStep
	switch {
	case ost.Visit && o.Mature(): // before, everybody is new
		o.visitor(Object, 4)
	case st.Known:
		p0 := in.Site.Urns[in.Role][feature.UrnObjectFail].Share(ost.N, ost.Fail)
		p0 = min(970000, max(p0, in.Site.FamiliarFail[in.Role].PPM()))
		o.Add(Object, 4, sketch.LogLikelihood(st.Failed, 970000, p0), milli(uint32(obj.Fail)), int32(uint32(obj.N)*(p0/1000)))
	}
	o.spread(5)
}

// reused says that the secret of an attempt failed with another account before.
func reused(in *feature.Input) bool { return in.Event.Flags&event.FlagSecretReused != 0 }

func (oat007) Cap(o *Observation, s Subject) (event.Action, string) {
	in := o.In
	if s == Object {
		obj := in.ByObject
		switch {
		case obj.Clients.Bits() < 3 || obj.Fail < 4:
			return event.ActionObserve, "the account was attacked from fewer than 3 addresses"
		case in.Secret != 0 && obj.Secrets.Bits()+int(obj.Earlier) < 4:
			return event.ActionObserve, "fewer than 4 secrets: a client with an old password"
		}
		return event.ActionChallenge, "an account as a target is challenged, its owner's contexts are exempt"
	}
	a := in.ByActor
	switch {
	case familiarCap(in):
		return event.ActionObserve, "the account knows this context"
	case in.Guessed && a.Success*4 >= a.N:
		return event.ActionObserve, "log-ins succeed from here too: a shared place"
	case in.Guessed && (in.App() || in.NewApp()) && a.GapMean > 20000:
		return event.ActionRateLimit, "the site's own app at a slow pace: a stored password that is out of date"
	case a.Fail < 6 || in.Secret != 0 && a.Secrets.Bits() < 5:
		return event.ActionObserve, "fewer than 5 distinct secrets: somebody who mistypes"
	case a.Quick*2 < a.N && a.Fail < 18 && a.Objects.Bits() < 4:
		return event.ActionObserve, "human pace: fewer than 18 failures are a forgotten password"
	case a.Quick*2 < a.N && a.Fail < 25 && a.Objects.Bits() < 4:
		return event.ActionRateLimit, "human pace: fewer than 25 failures"
	case a.Success*4 > a.N:
		return event.ActionObserve, "more than a quarter of the attempts succeed"
	case in.Resolution.OwnersOfJoint >= 8:
		return event.ActionChallenge, "8 proved owners share address and fingerprint"
	}
	return event.ActionBlock, ""
}
