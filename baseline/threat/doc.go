// Package threat owns the detectors of the OWASP Automated Threats (handbook
// v1.30), one file each, and the cases they build: running sums of evidence
// about one subject (an actor, an object, a group of objects, a tool) for one
// threat, in milli-nats.
//
// It promises that a score is the sum of its parts, that a case decays and
// never drops below zero (a reflected sum, so a good record gives no credit to
// burn), that what is under suspicion does not teach the baselines, and that
// detectors allocate nothing. It never decides what to do: it says how strong
// the evidence is and what the threat's strongest response may be; package
// baseline turns that into verdicts.
//
// # Adding a detector
//
// Adding a detector is one file, one test, one row in the docs:
//
//  1. Make oatNNN.go with a type that implements Detector. Facts names the
//     threat, the roles whose events it wants (none: every request), its parts
//     (the features that the evidence lists, at most MaxParts) and its
//     response ladder.
//  2. In Observe, read o.In: ActorStep, ObjectStep, GroupStep and ToolStep say
//     how this attempt differs from the ones before (N and Fail are as they
//     were before it), ByActor and its siblings are the counts including it,
//     Conduct is the actor over all its requests, Site the learned baselines.
//     Call o.Add(subject, part, nats, value, expected) for each feature.
//     Prefer o.Urn (a learned predictive test) to a constant; use
//     sketch.LogLikelihood for constants that need no history.
//  3. State in Cap what must hold before a strong response: caps are
//     structural, they keep people safe when the statistics are wrong.
//  4. Add it to Detectors in detectors.go and a script to testdata.
//
// Contributions are clamped to +-4 nats per event and part. The bars are 4.6
// observe (3.0 where only logs are known), 6.9 rate limit, 9.2 challenge, 13.8 block.
package threat
