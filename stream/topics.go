package stream

import (
	"context"
	"fmt"

	"github.com/weirproject/weir/stream/broker"
)

// EnsureTopics makes weir's topics where they are missing and returns the number
// of partitions of each. It waits for the log to come up until ctx ends.
func EnsureTopics(ctx context.Context, c Connection, cfg broker.TopicsConfig) (map[string]int, error) {
	cl, err := c.client()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	n, err := broker.EnsureTopics(ctx, cl, cfg)
	if err != nil {
		return nil, fmt.Errorf("topics: %w", err)
	}
	return n, nil
}
