package sinks_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/weirproject/weir/sinks"
	"github.com/weirproject/weir/sinks/file"
	"github.com/weirproject/weir/sinks/ocsf"
)

func TestKillNine(t *testing.T) {
	const n, kills = 3000, 12
	dir := t.TempDir()
	for round := range kills + 1 {
		cmd := exec.Command(os.Args[0], "-test.run=^$") //nolint:gosec // this test binary; killed below
		cmd.Env = append(os.Environ(), "WEIR_TEST_SINK_DIR="+dir, "WEIR_TEST_SINK_N="+strconv.Itoa(n))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		progress := bufio.NewScanner(out)
		// Die after some progress of its own, so that every run gets further.
		for lines := 0; progress.Scan() && (round == kills || lines < 5+7*round%11); lines++ {
			if progress.Text() == "done" {
				break
			}
		}
		if round < kills {
			_ = cmd.Process.Kill()
		}
		_, _ = io.Copy(io.Discard, out)
		err = cmd.Wait()
		if round == kills && err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]int{}
	for _, line := range fileLines(t, filepath.Join(dir, "out.ndjson")) {
		var doc struct {
			Metadata struct {
				UID string `json:"uid"`
			} `json:"metadata"`
		}
		if err := json.Unmarshal(line, &doc); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		seen[doc.Metadata.UID]++
	}
	repeats := 0
	for i := range n {
		id := fmt.Sprintf("r-%d", i)
		if seen[id] == 0 {
			t.Errorf("%s is lost", id)
		}
		repeats += seen[id] - 1
	}
	if len(seen) != n {
		t.Errorf("%d ids, want %d", len(seen), n)
	}
	t.Logf("%d kills, %d documents, %d repeated", kills, n, repeats)
}

func child() int {
	dir := os.Getenv("WEIR_TEST_SINK_DIR")
	n, _ := strconv.ParseInt(os.Getenv("WEIR_TEST_SINK_N"), 10, 64)
	d, err := file.New(file.Config{Path: filepath.Join(dir, "out.ndjson"), MaxBytes: 200_000, Keep: 200})
	if err != nil {
		return 2
	}
	m, err := sinks.NewMetrics(nil)
	if err != nil {
		return 2
	}
	l := newList(n, 1)
	s, err := sinks.New(sinks.Config{
		Name: "kill", Dir: dir, Topics: []string{sinks.Decisions}, BatchDocuments: 3, SaveEvery: time.Millisecond,
	}, l, ocsf.Format{}, &talking{Destination: d}, m, nil)
	if err != nil {
		return 2
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		l.reached.Wait()
		cancel()
	}()
	if err := s.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_, _ = fmt.Fprintln(os.Stdout, "done")
	return 0
}

type talking struct{ *file.Destination }

func (d *talking) Deliver(ctx context.Context, ids []string, docs [][]byte) error {
	err := d.Destination.Deliver(ctx, ids, docs)
	_, _ = fmt.Fprintln(os.Stdout, len(ids))
	return err
}
