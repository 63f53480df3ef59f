package line

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/weirproject/weir/collector/accesslog"
	"github.com/weirproject/weir/stream"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

// deadLetterBytes bounds the sample of lines that could not be parsed.
const deadLetterBytes = 4 << 20

// longDelivery is from when on a log that does not take lines is a problem.
const longDelivery = 10 * time.Second

// follower is one followed access log.
type follower struct {
	*accesslog.Follower
	path, dead string
}

// openFollowers opens every configured log. Positions and unparseable lines are
// kept in DATA/collect, one pair of files per log.
func (c *collecting) openFollowers() error {
	dir := filepath.Join(c.Config.Data, "collect")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("collector directory: %w", err)
	}
	metrics := accesslog.NewMetrics(c.metrics)
	for _, l := range c.Config.Collect.AccessLogs {
		format, err := accesslog.ParseFormat(l.Format)
		if err != nil {
			return fmt.Errorf("collect.accessLogs: %w", err)
		}
		path, err := filepath.Abs(l.Path)
		if err != nil {
			return fmt.Errorf("collect.accessLogs: %w", err)
		}
		sum := sha256.Sum256([]byte(path))
		name := filepath.Join(dir, filepath.Base(path)+"-"+hex.EncodeToString(sum[:4]))
		f := &follower{path: path, dead: name + ".rejected"}
		f.Follower, err = accesslog.NewFollower(accesslog.FollowConfig{
			Path: path, Format: format, Site: l.Site, Node: node(c.Config), PositionFile: name + ".position",
			DeadLetter: accesslog.NewDeadLetter(f.dead, deadLetterBytes), Log: c.Log,
		}, metrics, &outlet{c.events.NewSequence(), c.capture})
		if err != nil {
			return fmt.Errorf("access log %s: %w", path, err)
		}
		c.logs = append(c.logs, f)
	}
	return nil
}

// outlet makes events of a log's exchanges. A log can be read again, so they are
// sent as a sequence: each line is one event even when this process is killed.
type outlet struct {
	*stream.Sequence
	capture *capture
}

// Take is accesslog.Outlet's.
func (o *outlet) Take(x *flow.Exchange) (full bool) {
	ev := events.Get().(*event.Event) // the pool holds nothing else
	defer events.Put(ev)
	o.capture.event(x, ev)
	return o.Add(ev)
}

// describe says what becomes of the log; the error is why nothing does.
func (f *follower) describe() (string, error) {
	if err := f.Fault(); err != nil {
		return "", err
	}
	if _, err := os.Stat(f.path); errors.Is(err, fs.ErrNotExist) {
		return "waits for " + f.path + ": there is no such file yet", nil
	}
	if wait := f.Waiting(); wait >= longDelivery {
		return "", fmt.Errorf("the log has taken no line of %s for %v (nothing is lost, they stand in the file)", f.path, wait.Round(time.Second))
	}
	text := "follows " + f.path
	if n := f.Missed(); n > 0 {
		text += fmt.Sprintf("; %d times a file was gone or cut off before it was read to its end, so that lines may be missing", n)
	}
	if info, err := os.Stat(f.dead); err == nil && info.Size() > 0 {
		text += "; lines that could not be parsed are sampled in " + f.dead
	}
	return text, nil
}
