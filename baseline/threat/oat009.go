package threat

import (
	"github.com/weirproject/weir/stream/event"
)

// oat009 recognises CAPTCHA defeat: tests solved again and again by one actor or
// one program without owners, too fast or in always the same time.
//
// Blind spots: who solved the test.
type oat009 struct{}

var oat009Trial = trial{volume: true, cohort: true}

// partSolveTime replaces the unused part of changed secrets.
const partSolveTime = partSecrets

func (oat009) Facts() Facts {
	parts := trialParts("tokens")
	parts[partSolveTime] = "solve_time"
	return Facts{
		Threat: "OAT-009", Name: "CAPTCHA Defeat", Roles: []event.Role{event.RoleCaptchaVerify}, Parts: parts,
		Strongest: event.ActionBlock, Compares: "how many tests this site's visitors solve, and how fast",
		Verb: "solved one test after the other",
	}
}

func (oat009) Observe(o *Observation) {
	oat009Trial.observe(o)
	in := o.In
	// The time since the actor's last request bounds the solving time from above.
	if in.Gap >= 0 && in.Gap < 1500 {
		o.Add(Actor, partSolveTime, 1200, int32(in.Gap), 6000000)
		if in.ByTool != nil && o.Mature() && o.Unowned() {
			o.Add(Tool, partSolveTime, 600, int32(in.Gap), 6000000)
		}
	}
}

func (oat009) Cap(o *Observation, s Subject) (event.Action, string) {
	if s == Tool {
		return toolCap(o)
	}
	if a := o.In.ByActor; a.N+a.Refused < 5 {
		return event.ActionObserve, "fewer than 5 tests"
	}
	return event.ActionBlock, ""
}
