package stream

import "strings"

// logState is what the broker says of a partition when an owner starts.
type logState struct {
	start, end int64
	// id is the topic's id, so that a topic made anew is known as another.
	id string
}

// committed is what the group last committed for a partition.
type committed struct {
	offset int64 // -1: nothing
	note   commitNote
	noted  bool // note was there and readable
}

// plan says where the cursors of an owner start.
type plan struct {
	lineage string
	// maxSnapshot is the newest offset a snapshot may have.
	maxSnapshot int64
	// foreign is set when the topic is another one than before: no snapshot's
	// offset means anything here, but the learned state is still worth having.
	foreign bool
	// rewound is set when the log lost its end: an alarm.
	rewound bool
	// store is the store cursor: every row below is stored. -1: ask the snapshot.
	store int64
	// firstTo is the exact end of the first range, 0 when free; firstToken its
	// token, which repeats what was announced.
	firstTo    int64
	firstToken string
	// emitFrom is the offset below which verdicts are known to be published.
	emitFrom int64
}

// makePlan decides from the broker's words alone; it is pure so that the table
// test can walk through what broker faults do.
func makePlan(topic string, partition int32, log logState, c committed) plan {
	p := plan{lineage: log.id + lineageSeparator + "0", maxSnapshot: log.end, store: c.offset}
	if !c.noted {
		if c.offset > log.end {
			p.rewound, p.store, p.lineage = true, log.end, nextLineage(p.lineage)
		}
		return p
	}
	if !strings.HasPrefix(c.note.lineage, log.id+lineageSeparator) {
		p.foreign, p.rewound, p.store = true, true, log.start
		return p
	}
	p.lineage = c.note.lineage
	p.emitFrom = min(c.note.verdicts, log.end)
	if c.note.intent > c.offset {
		p.firstTo = c.note.intent
		p.firstToken = token(p.lineage, topic, partition, c.offset, c.note.intent)
	}
	if c.offset > log.end || p.firstTo > log.end || c.note.verdicts > log.end {
		// The log lost its end (power loss, or an embedded log that started its
		// offsets again). Offsets past the end will be given out a second time:
		// another lineage keeps their tokens apart from those already used. The
		// part of an announced range that is still there keeps the old token.
		p.rewound, p.store = true, min(c.offset, log.end)
		p.firstTo = min(p.firstTo, log.end)
		if p.firstTo <= p.store {
			p.firstTo, p.firstToken = 0, ""
		}
		p.lineage = nextLineage(p.lineage)
	}
	if p.store >= 0 && p.store < log.start {
		// Retention took rows before they were stored: counted by the owner. An
		// announced range keeps its token for what is left of it.
		p.store = log.start
		if p.firstTo <= p.store {
			p.firstTo, p.firstToken = 0, ""
		}
	}
	return p
}
