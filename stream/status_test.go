package stream

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestStatusSaysThatTheLogGivesNothing: a partition that cannot be fetched has no
// lag that anybody could see.
func TestStatusSaysThatTheLogGivesNothing(t *testing.T) {
	c, k := cluster(t, 1)
	var broken atomic.Bool
	k.ControlKey(kmsg.Fetch.Int16(), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		req := kreq.(*kmsg.FetchRequest) //nolint:forcetypeassert // what the key says
		if !broken.Load() {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.FetchResponse) //nolint:forcetypeassert // of its kind
		for _, rt := range req.Topics {
			topic := kmsg.NewFetchResponseTopic()
			topic.Topic, topic.TopicID = rt.Topic, rt.TopicID
			for _, rp := range rt.Partitions {
				p := kmsg.NewFetchResponseTopicPartition()
				p.Partition, p.ErrorCode = rp.Partition, kerr.UnknownServerError.Code
				topic.Partitions = append(topic.Partitions, p)
			}
			resp.Topics = append(resp.Topics, topic)
		}
		return resp, nil, true
	})
	store := newMemStore()
	g, stop := startGroup(t, groupConfig(t, c, store, t.TempDir()), nil)
	put(t, c, "p1", 1, 10, events("shop", 0, 100)...)
	waitFor(t, "100 rows", func() bool { return store.count() >= 100 })
	if s := g.Status()[0]; s.FetchError != "" || s.Alarm != "" {
		t.Errorf("status of a partition without a fault: %+v", s)
	}
	broken.Store(true)
	waitFor(t, "the fault in the status", func() bool { return strings.Contains(g.Status()[0].FetchError, "UNKNOWN_SERVER_ERROR") })
	broken.Store(false)
	put(t, c, "p1", 101, 10, events("shop", 100, 200)...)
	waitFor(t, "200 rows", func() bool { return store.count() >= 200 })
	waitFor(t, "the end of the fault", func() bool { return g.Status()[0].FetchError == "" })
	stop()
}
