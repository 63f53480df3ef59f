package stream

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/weirproject/weir/stream/killtest"
)

// stored counts the rows in the store's files, reading each file once.
func (b *bench) stored() int {
	b.t.Helper()
	files, err := filepath.Glob(filepath.Join(b.dir, "rows", "*.[01]"))
	if err != nil {
		b.t.Fatal(err)
	}
	if b.counted == nil {
		b.counted = make(map[string]int)
	}
	total := 0
	for _, name := range files {
		n, ok := b.counted[name]
		if !ok {
			raw, err := os.ReadFile(name)
			if err != nil {
				b.t.Fatal(err)
			}
			n = bytes.Count(raw, []byte(`"ID"`))
			b.counted[name] = n
		}
		total += n
	}
	return total
}

// hasMembers reports whether the group is stable with n members.
func (b *bench) hasMembers(n int) func() bool {
	cl, err := b.connection().client()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(cl.Close)
	adm := kadm.NewClient(cl)
	return func() bool {
		groups, err := adm.DescribeGroups(b.t.Context(), "weir")
		if err != nil {
			return false
		}
		g := groups["weir"]
		return g.State == "Stable" && len(g.Members) == n
	}
}

// TestKilledMemberIsReplaced runs two members as processes and kills one after
// the other: the survivor takes the partitions over from the shared snapshots.
func TestKilledMemberIsReplaced(t *testing.T) {
	t.Parallel()
	if slow > 1 {
		t.Skip("timing: a second of session is short for processes under the race detector")
	}
	b := newBench(t, 4)
	b.killMembers(killtest.Process("log", 0, func() *exec.Cmd { return b.child("kfake") }, dials(b.broker)), 4, "1s")
}

// TestKilledMemberIsReplacedOnApacheKafka has the sessions that Kafka admits.
func TestKilledMemberIsReplacedOnApacheKafka(t *testing.T) {
	t.Parallel()
	needsKafka(t)
	b := newBench(t, 4)
	b.killMembers(b.kafka(0), 2, "6s")
}

func (b *bench) killMembers(log *killtest.Service, rounds int, session string) {
	t := b.t
	t.Helper()
	for _, s := range []*killtest.Service{log, b.files(0)} {
		t.Cleanup(s.Kill)
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	start := func(member string, env ...string) *exec.Cmd {
		cmd := b.child("processor", append([]string{envMember + "=" + member, envSession + "=" + session}, env...)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	b.startTraffic()
	members := map[string]*exec.Cmd{"m0": start("m0", envForever+"=1"), "m1": start("m1", envForever+"=1")}
	end := func(name string) {
		_ = members[name].Process.Kill() // waited for next
		_ = members[name].Wait()
	}
	t.Cleanup(func() {
		for _, m := range members {
			if t.Failed() {
				_ = m.Process.Signal(syscall.SIGQUIT) // they say where they are
				_ = m.Wait()
			}
		}
		end("m0")
		end("m1")
	})
	waitFor(t, "the first rows", func() bool { return b.stored() > 100 })
	waitFor(t, "two members", b.hasMembers(2))
	for round := range rounds {
		name := fmt.Sprintf("m%d", round%2)
		end(name)
		// The survivor brings every partition up to what was emitted by now.
		want := int(b.producer.Ledger().Produced) + 2000
		waitFor(t, "the survivor", func() bool { return b.stored() > want })
		members[name] = start(name, envForever+"=1")
		// kfake never expires a member that dies before it has heard the answer to
		// its join; a kill that early would test kfake.
		waitFor(t, "two members", b.hasMembers(2))
	}
	if err := b.endTraffic(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rows stored, %d events emitted", b.stored(), b.emitted)
	waitFor(t, "all rows", func() bool { return b.stored() >= b.emitted })
	end("m0")
	end("m1")
	// A last member for the last snapshots, which check compares.
	last := start("m0")
	stuck := time.AfterFunc(30*time.Second, func() { _ = last.Process.Kill() })
	defer stuck.Stop()
	if err := last.Wait(); err != nil {
		t.Fatal(err)
	}
	b.check()
}
