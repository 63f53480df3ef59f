package broker

import (
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirproject/weir/stream/broker/kafkatest"
)

func TestTheSameTopicsOnApacheKafka(t *testing.T) {
	k := kafkatest.Start(t)
	cl := newClient(t, kgo.SeedBrokers(k.Address))
	ensure(t, cl, TopicsConfig{})
	ensure(t, cl, TopicsConfig{}) // existing topics are left alone
	before, err := Incarnation(testContext(t), cl, "weir.events")
	if err != nil || !strings.Contains(before, "/") {
		t.Fatalf("incarnation %q, %v", before, err)
	}
	configs, err := kadm.NewClient(cl).DescribeTopicConfigs(testContext(t), "weir.events")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range configs[0].Configs {
		if c.Key == "retention.ms" && c.MaybeValue() != "-1" {
			t.Errorf("retention.ms %s", c.MaybeValue())
		}
	}
	produce(t, cl, 0, 20, 900_000)
	k.Kill()
	if err := k.Restart(); err != nil {
		t.Fatal(err)
	}
	if start, end := offsets(t, cl); start != 0 || end != 20 {
		t.Errorf("offsets %d to %d", start, end)
	}
	if after, err := Incarnation(testContext(t), cl, "weir.events"); err != nil || after != before {
		t.Errorf("incarnation %q became %q, %v", before, after, err)
	}
	if _, err := kadm.NewClient(cl).DeleteTopics(testContext(t), "weir.events"); err != nil {
		t.Fatal(err)
	}
	ensure(t, cl, TopicsConfig{})
	if after, err := Incarnation(testContext(t), cl, "weir.events"); err != nil || after == before {
		t.Errorf("a topic that was deleted and made again keeps its incarnation %q, %v", after, err)
	}
	k.Stop()
	if err := kafkatest.Available(); err != nil {
		t.Error(errors.Join(errors.New("available a moment ago"), err))
	}
}
