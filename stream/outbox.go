package stream

import "sync"

// outbox follows verdicts from the engine to the log's acknowledgement, so that
// nobody claims that verdicts are published which are not.
type outbox struct {
	mu sync.Mutex
	// open are records whose verdicts are not all acknowledged, by offset.
	open []openVerdicts
	next int64
	// changed is closed and replaced whenever confirmed may have risen.
	changed chan struct{}
}

type openVerdicts struct {
	offset int64
	count  int
}

func newOutbox(next int64) *outbox { return &outbox{next: next, changed: make(chan struct{})} }

// passed says that the engine has taken the record at offset, which gave count
// verdicts. It is called in offset order, before the first of them is sent.
func (o *outbox) passed(offset int64, count int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next = offset + 1
	if count > 0 {
		o.open = append(o.open, openVerdicts{offset, count})
	}
}

// acknowledged says that one verdict of the record at offset is on the log.
func (o *outbox) acknowledged(offset int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.open {
		if o.open[i].offset == offset {
			o.open[i].count--
			break
		}
	}
	done := 0
	for done < len(o.open) && o.open[done].count <= 0 {
		done++
	}
	if done > 0 {
		o.open = append(o.open[:0], o.open[done:]...)
		close(o.changed)
		o.changed = make(chan struct{})
	}
}

// confirmed returns the offset below which every verdict is on the log, and a
// channel that is closed when it may have risen.
func (o *outbox) confirmed() (int64, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.open) > 0 {
		return o.open[0].offset, o.changed
	}
	return o.next, o.changed
}
