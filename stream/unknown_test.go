package stream

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestVerdictsWaitForALogThatIsStarting: such a log may not know its topics yet;
// the client library gives a record up after four such answers.
func TestVerdictsWaitForALogThatIsStarting(t *testing.T) {
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, TopicEvents), kfake.GroupMinSessionTimeout(time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	var asked atomic.Int64
	fake.ControlKey(kmsg.Metadata.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		for _, topic := range req.(*kmsg.MetadataRequest).Topics {
			if topic.Topic != nil && *topic.Topic == TopicVerdicts {
				asked.Add(1)
			}
		}
		return nil, nil, false
	})
	c := Connection{Brokers: fake.ListenAddrs()}
	store := newMemStore()
	startGroup(t, groupConfig(t, c, store, t.TempDir()), nil)
	put(t, c, "p1", 1, 50, events("shop", 0, 17*verdictEvery)...)
	waitFor(t, "all rows", func() bool { return store.count() >= 17*verdictEvery })
	before := asked.Load()
	waitFor(t, "answers that the topic is unknown", func() bool { return asked.Load() > before+6 })
	cl, err := c.client()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), 1, 1, nil, TopicVerdicts); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the verdicts", func() bool { return len(verdicts(t, c)) == 17 })
}
