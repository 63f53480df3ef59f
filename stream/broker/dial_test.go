package broker

import (
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestClientsFollowABrokerWhosePortWasTaken starts a broker again while somebody
// else listens where it was.
func TestClientsFollowABrokerWhosePortWasTaken(t *testing.T) {
	dir := t.TempDir()
	p := launch(t, childConfig{Dir: dir})
	cl := p.client(t, kgo.Dialer(Dial(dir)))
	ensure(t, cl, TopicsConfig{Manage: true})
	produce(t, cl, 0, 10, 10)
	p.kill(t)
	var lc net.ListenConfig
	if taken, err := lc.Listen(t.Context(), "tcp", p.addr); err == nil { // else somebody was quicker
		t.Cleanup(func() { _ = taken.Close() })
	}
	moved := launch(t, childConfig{Dir: dir})
	if moved.addr == p.addr {
		t.Fatalf("the broker serves on %s, which is taken", moved.addr)
	}
	produce(t, cl, 10, 10, 10)
	if start, end := offsets(t, cl); start != 0 || end != 20 {
		t.Errorf("offsets %d to %d, want 0 to 20", start, end)
	}
}
