package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// floorWindow is the state of one address and minute.
type floorWindow struct {
	count int
	paths map[string]struct{}
}

// childFloor is the floor: fetch, find three fields by hand, count and distinct
// paths per address and minute, one row per window when its minute is over.
func childFloor(args []string) error {
	conn, err := parseConn(args[0])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	cl, err := client(conn, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topicFloor: {0: kgo.NewOffset().AtStart()}}),
		kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	f := floor{windows: map[string]*floorWindow{}, out: bufio.NewWriter(nopWriter{})}
	began := time.Now()
	for f.events < n {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			return err
		}
		fs.EachRecord(func(r *kgo.Record) { f.take(r.Value) })
	}
	f.close()
	cpu, peak := own()
	return json.NewEncoder(os.Stdout).Encode(consumed{Events: f.events, CPU: cpu.Seconds(), Wall: time.Since(began).Seconds(), PeakMB: peak, Rows: f.rows})
}

type nopWriter struct{}

func (nopWriter) Write(p []byte) (int, error) { return len(p), nil }

type floor struct {
	windows map[string]*floorWindow
	free    []*floorWindow
	minute  int64
	events  int
	rows    int
	key     []byte
	out     *bufio.Writer
}

func (f *floor) take(b []byte) {
	f.events++
	ts, ip, path := floorFields(b)
	if m := ts / 60_000; m > f.minute {
		f.close()
		f.minute = m
	}
	w := f.windows[string(ip)]
	if w == nil {
		if k := len(f.free); k > 0 {
			w, f.free = f.free[k-1], f.free[:k-1]
			w.count = 0
			clear(w.paths)
		} else {
			w = &floorWindow{paths: map[string]struct{}{}}
		}
		f.windows[string(ip)] = w
	}
	w.count++
	if _, ok := w.paths[string(path)]; !ok {
		w.paths[string(path)] = struct{}{}
	}
}

// close writes the windows of the minute that is over.
func (f *floor) close() {
	for ip, w := range f.windows {
		f.key = append(append(f.key[:0], ip...), ' ')
		f.key = strconv.AppendInt(append(strconv.AppendInt(f.key, int64(w.count), 10), ' '), int64(len(w.paths)), 10)
		_, _ = f.out.Write(append(f.key, '\n'))
		f.rows++
		f.free = append(f.free, w)
	}
	clear(f.windows)
}

// floorFields walks the object once and stops after the third field it wants.
func floorFields(b []byte) (ts int64, ip, path []byte) {
	for i := 1; i < len(b); {
		if b[i] != '"' {
			i++
			continue
		}
		i++
		k := i
		for i < len(b) && b[i] != '"' {
			i++
		}
		key := b[k:i]
		i += 2 // quote and colon
		if i >= len(b) {
			return
		}
		var value []byte
		if b[i] == '"' {
			i++
			v := i
			for i < len(b) && b[i] != '"' {
				if b[i] == '\\' {
					i++
				}
				i++
			}
			value = b[v:i]
			i++
		} else {
			v := i
			for i < len(b) && b[i] != ',' && b[i] != '}' {
				i++
			}
			value = b[v:i]
		}
		switch string(key) {
		case "ts":
			for _, c := range value {
				ts = ts*10 + int64(c-'0')
			}
		case "ip":
			ip = value
		case "path":
			return ts, ip, value
		}
	}
	return
}
