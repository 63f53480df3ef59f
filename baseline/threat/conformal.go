package threat

import (
	"github.com/weirproject/weir/baseline/actor"
	"github.com/weirproject/weir/baseline/feature"
	"github.com/weirproject/weir/stream/event"
)

// The theory behind the bars holds when the learned distributions are right and
// features are independent given the past; both fail a little. So each bar is
// also held against the scores of clean episodes (conformal p-values; Bates et
// al., Annals of Statistics 2023), and the larger one counts. Clean is an
// episode whose owner proved itself again at home afterwards.

const (
	peakBase = 7000 // milli-nats of Peaks[0]
	peakStep = 1000
	// maxRaise bounds how far clean scores may raise a bar: one owner's broken
	// client must not blind a detector.
	maxRaise = 6000
	// enoughClean episodes support an empirical bound of 1e-4 (rule of three); a
	// bound of 1e-3 needs a tenth of them.
	enoughClean = 30000
)

// clean records the peaks of an actor whose owner has just proved itself.
func (s *Set) clean(in *feature.Input) {
	if in.Resolution.Familiarity != actor.Familiar || in.Outcome != event.OutcomeSuccess || in.Refused ||
		in.Event.Flags&event.FlagProves == 0 || in.Conduct.Proven != 0 {
		return
	}
	in.Conduct.Proven = 1
	in.Site.Clean++
	for i := range s.facts {
		if in.Conduct.Open&(1<<i) == 0 {
			continue
		}
		c := s.Find(Actor, in.Identity.ID, i)
		if c == nil {
			continue
		}
		for b := range in.Site.Peaks[i] {
			if c.Peak >= peakBase+int32(b)*peakStep {
				in.Site.Peaks[i][b]++
			}
		}
		c.Peak = 0
	}
}

// barOf is the bar of an action for a detector: the theoretical one, or the
// conformal one where clean episodes suffice and ask for more.
func barOf(site *feature.Site, detector int, theory int32, perMillion uint64) int32 {
	n := uint64(site.Clean)
	if (n+1)*perMillion < 1000000 {
		return theory // too few episodes to tell
	}
	for b, count := range site.Peaks[detector] {
		level := int32(peakBase + b*peakStep)
		if level < theory {
			continue
		}
		if level > theory+maxRaise {
			break
		}
		if (uint64(count)+1)*1000000 <= (n+1)*perMillion {
			if b == 0 || level-peakStep < theory {
				return theory
			}
			return level
		}
	}
	return theory + maxRaise
}

// FalsePositives is the false positive bound of an action for a detector, in units of
// 1e-9 per clean actor-episode: the upper 95 % bound seen on clean episodes where
// there were enough of them, else the theoretical one of the bar.
func FalsePositives(site *feature.Site, detector int, a event.Action) (nano int64, empirical bool) {
	theory, bar := int64(10000000), ObserveBar(site)
	if bar == barDoubt {
		theory = 50000000
	}
	switch {
	case a >= event.ActionBlock:
		theory, bar = 1000, BarBlock
	case a >= event.ActionChallenge:
		theory, bar = 100000, BarChallenge
	case a >= event.ActionRateLimit:
		theory, bar = 1000000, BarRateLimit
	}
	if int64(site.Clean) < min(enoughClean, 3000000000/theory) || bar < peakBase-200 {
		return theory, false
	}
	b := max(0, min(15, (bar-peakBase)/peakStep))
	k := int64(site.Peaks[detector][b])
	// Poisson: the upper 95 % bound of k seen is at most k + 3 + 2 sqrt(k).
	root := int64(0)
	for (root+1)*(root+1) <= k {
		root++
	}
	return (k + 3 + 2*root) * 1000000000 / int64(site.Clean), true
}
