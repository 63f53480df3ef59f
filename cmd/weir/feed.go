package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/stream/verdict"
)

// maxFeedLineBytes bounds one verdict on the feed.
const maxFeedLineBytes = 1 << 20

// watchFeed calls each with every verdict of the feed until ctx ends.
func watchFeed(ctx context.Context, c *admin.Client, each func(*verdict.Verdict) error) error {
	body, err := c.Open(ctx, http.MethodGet, "/v1/verdicts/stream", nil)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxFeedLineBytes)
	kind := ""
	for lines.Scan() {
		line := lines.Bytes()
		if name, ok := bytes.CutPrefix(line, []byte("event: ")); ok {
			kind = string(name)
			continue
		}
		data, ok := bytes.CutPrefix(line, []byte("data: "))
		if !ok || kind != "verdict" {
			continue
		}
		var v verdict.Verdict
		if err := json.Unmarshal(data, &v); err != nil {
			return fmt.Errorf("feed: %w", err)
		}
		if err := each(&v); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	return errors.New("the feed ended: is weir still running?")
}
