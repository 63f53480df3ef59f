package supervise

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets the test binary play the supervised part.
func TestMain(m *testing.M) {
	switch os.Getenv("WEIR_TEST_PART") {
	case "":
		os.Exit(m.Run())
	case "fails":
		fmt.Fprintln(os.Stderr, "address already in use")
		os.Exit(1)
	case "slack":
		slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
		Ready(fmt.Sprint(time.Duration(slack), err))
		untilStopped() // one that ended at once might not be heard
	case "twice":
		Ready("mode shadow")
		Ready("mode enforce")
		untilStopped()
	case "ready":
		Ready("port 1234")
		untilStopped()
	}
}

func untilStopped() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
	os.Exit(0)
}

func newSupervisor(t *testing.T) *Supervisor {
	t.Helper()
	s := New(os.Args[0], t.TempDir(), slog.New(slog.DiscardHandler))
	t.Cleanup(s.Stop)
	return s
}

func TestPartThatFailsAtStartIsReportedInItsOwnWords(t *testing.T) {
	s := newSupervisor(t)
	_, err := s.Start(t.Context(), Part{Name: "x", Env: []string{"WEIR_TEST_PART=fails"}})
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Fatalf("err = %v, want the part's own words", err)
	}
	if n := len(s.States()); n != 0 {
		t.Fatalf("%d parts kept, want none", n)
	}
}

// TestAPartMayCorrectWhatItSaid: a reload changes what status has to show.
func TestAPartMayCorrectWhatItSaid(t *testing.T) {
	s := newSupervisor(t)
	if _, err := s.Start(t.Context(), Part{Name: "x", Env: []string{"WEIR_TEST_PART=twice"}, StopTimeout: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); s.States()[0].Detail != "mode enforce"; {
		if time.Now().After(deadline) {
			t.Fatalf("status shows %q", s.States()[0].Detail)
		}
		<-time.After(time.Millisecond)
	}
}

func TestTimerSlackIsThePartsOwn(t *testing.T) {
	usual, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		prompt bool
		want   time.Duration
	}{{false, relaxedSlack}, {true, time.Duration(usual)}} {
		s := newSupervisor(t)
		detail, err := s.Start(t.Context(), Part{Name: "x", Env: []string{"WEIR_TEST_PART=slack"}, Prompt: c.prompt})
		if want := fmt.Sprint(c.want, nil); err != nil || detail != want {
			t.Errorf("prompt %v: slack %q, %v, want %q", c.prompt, detail, err, want)
		}
	}
}

func TestKilledPartIsRestartedAndStoppedAtTheEnd(t *testing.T) {
	s := newSupervisor(t)
	detail, err := s.Start(t.Context(), Part{Name: "x", Env: []string{"WEIR_TEST_PART=ready"}})
	if err != nil || detail != "port 1234" {
		t.Fatalf("Start = %q, %v", detail, err)
	}
	first := s.States()[0].PID
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := await(t, func() (State, bool) {
		st := s.States()[0]
		return st, st.Ready && st.PID != first && st.PID != 0
	})
	if second.Restarts != 1 || !strings.Contains(second.LastExit, "killed") {
		t.Fatalf("state after restart: %+v", second)
	}
	s.Stop()
	if err := syscall.Kill(second.PID, 0); err == nil {
		t.Fatal("the part outlived Stop")
	}
}

// await polls f until it holds, for at most ten seconds.
func await[T any](t *testing.T, f func() (T, bool)) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if v, ok := f(); ok {
			return v
		}
		select {
		case <-ctx.Done():
			t.Fatal("condition did not hold within 10 s")
		case <-tick.C:
		}
	}
}
