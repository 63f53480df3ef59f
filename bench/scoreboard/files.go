package scoreboard

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/weirproject/weir/bench/traffic"
)

// Files tallies a --decisions file of weir replay against a labels file of the
// simulator. Decisions of the learning time (reason "learning") do not count,
// nor do those without a label; it returns how many were counted.
func (t *Tally) Files(run string, decisions, labels io.Reader) (int, error) {
	truth := map[string]traffic.Label{}
	err := eachLine(labels, func(line []byte) error {
		var l traffic.Label
		if err := json.Unmarshal(line, &l); err != nil {
			return err
		}
		truth[l.ID] = l
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("labels: %w", err)
	}
	counted := 0
	err = eachLine(decisions, func(line []byte) error {
		var d Decision
		if err := json.Unmarshal(line, &d); err != nil {
			return err
		}
		l, known := truth[d.ID]
		if !known || d.Reason == "learning" {
			return nil
		}
		at, err := time.Parse(time.RFC3339Nano, d.Time)
		if err != nil {
			return err
		}
		counted++
		t.Add(run, &d, &l, at.UnixNano())
		return nil
	})
	if err != nil {
		return counted, fmt.Errorf("decisions: %w", err)
	}
	return counted, nil
}

func eachLine(r io.Reader, use func(line []byte) error) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 1<<16), 1<<22)
	for n := 1; sc.Scan(); n++ {
		if err := use(sc.Bytes()); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return sc.Err()
}
