package wasm

// Strongest is the first policy in plain Go: it acts on the verdict with the
// strongest action, the highest score among equals, the first among those. The
// committed module policy/strongest.wasm is the same policy compiled; a test
// holds them equal.
type Strongest struct{}

// RuleVerdict is the rule by which Strongest acts on a verdict.
const RuleVerdict = 1

// Evaluate proposes the strongest verdict's action, or to allow.
func (Strongest) Evaluate(f *Frame) (Proposal, error) {
	best := -1
	for i := range f.Verdicts {
		v := &f.Verdicts[i]
		if best < 0 || v.Action > f.Verdicts[best].Action ||
			v.Action == f.Verdicts[best].Action && v.Score > f.Verdicts[best].Score {
			best = i
		}
	}
	if best < 0 {
		return Proposal{Action: allow, Verdict: -1}, nil
	}
	return Proposal{Action: f.Verdicts[best].Action, Verdict: best, Rule: RuleVerdict}, nil
}

// NeedsVerdict is true: without a verdict it has nothing to say.
func (Strongest) NeedsVerdict() bool { return true }

// Name is the policy's name.
func (Strongest) Name() string { return "strongest" }

// Version is the policy's version.
func (Strongest) Version() string { return "1" }

// Hash is empty: there is no artefact.
func (Strongest) Hash() string { return "" }

// RuleName names a rule.
func (Strongest) RuleName(uint16) string { return "verdict" }
