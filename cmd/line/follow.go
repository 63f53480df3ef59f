package line

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/weirproject/weir/collector/accesslog"
)

// deadLetterBytes bounds the sample of lines that could not be parsed.
const deadLetterBytes = 4 << 20

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
			Flush: func(ctx context.Context) error { return c.events.Flush(ctx) },
		}, metrics, c.take)
		if err != nil {
			return fmt.Errorf("access log %s: %w", path, err)
		}
		c.logs = append(c.logs, f)
	}
	return nil
}

// describe says what becomes of the log; the error is why nothing does.
func (f *follower) describe() (string, error) {
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return "waits for " + f.path + ": there is no such file yet", nil
	}
	if err != nil {
		return "", fmt.Errorf("the access log cannot be read: %w", err)
	}
	_ = file.Close() // only looked at
	text := "follows " + f.path
	if info, err := os.Stat(f.dead); err == nil && info.Size() > 0 {
		text += "; lines that could not be parsed are sampled in " + f.dead
	}
	return text, nil
}
