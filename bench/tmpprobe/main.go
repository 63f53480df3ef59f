package main

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"sort"
	"strconv"
	"syscall"
	"time"

	"github.com/weirproject/weir/baseline"
	"github.com/weirproject/weir/bench/traffic"
	"github.com/weirproject/weir/bench/traffic/scenario"
	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
	"github.com/weirproject/weir/stream/verdict"
	"github.com/weirproject/weir/stream/wire"
)

var enough = errors.New("enough")

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(0, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

type rec struct {
	Records []wire.Record
}

func main() {
	n := flag.Int("n", 1000000, "")
	prof := flag.String("prof", "", "")
	file := flag.String("file", "/tmp/engine/records.gob", "")
	js := flag.Bool("json", false, "")
	hist := flag.Bool("hist", false, "")
	rounds := flag.Int("rounds", 1, "")
	flag.Parse()
	if _, err := os.Stat(*file); err != nil {
		make1(*n, *file)
	}
	b, _ := os.ReadFile(*file)
	var r rec
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&r); err != nil {
		panic(err)
	}
	dec := wire.NewDecoder(wire.Limits{})
	var evs []event.Event
	for i := range r.Records {
		batch, err := dec.Decode(r.Records[i].Info, r.Records[i].Value)
		if err != nil {
			panic(err)
		}
		for k := range batch.Len() {
			var ev event.Event
			batch.Event(k, &ev)
			evs = append(evs, *ev.Clone())
		}
	}
	fmt.Println(len(evs), "events")
	for round := range *rounds {
	e := baseline.New(baseline.Config{})
	if *prof != "" && round == 0 {
		f, _ := os.Create(*prof)
		pprof.StartCPUProfile(f)
		defer pprof.StopCPUProfile()
	}
	from := cpu()
	per := map[string]int{}
	threat := map[string]int{}
	last := map[string]verdict.Verdict{}
	revs, bytesN := 0, 0
	for i := range evs {
		res := e.Observe(&evs[i], verdict.Position{Offset: int64(i)})
		for k := range res.Verdicts {
			v := &res.Verdicts[k]
			revs++
			if *js {
				raw, _ := json.Marshal(v)
				bytesN += len(raw)
			}
			if *hist {
				per[v.ID]++
				last[v.ID] = *v
				threat[string(v.Threats[0])+" "+string(v.Scope)]++
			}
		}
	}
	used := cpu() - from
	fmt.Printf("%d revisions, %.0f events/cpu-s, json %d bytes\n", revs, float64(len(evs))/used.Seconds(), bytesN)
	if *hist {
		var c []int
		for _, v := range per {
			c = append(c, v)
		}
		sort.Ints(c)
		fmt.Println(len(c), "verdicts; median", c[len(c)/2], "p90", c[len(c)*9/10], "p99", c[len(c)*99/100], "max", c[len(c)-1])
		fmt.Println(threat)
		var ids []string
		for id := range per {
			ids = append(ids, id)
		}
		sort.Slice(ids, func(a, b int) bool { return per[ids[a]] > per[ids[b]] })
		for _, id := range ids[:25] {
			v := last[id]
			kinds := map[string]int{}
			for _, g := range v.Binds {
				k := ""
				for _, b := range g.All {
					k += "+" + b.Kind
				}
				kinds[k]++
			}
			fmt.Println(per[id], v.Threats, v.Scope, v.Action, v.Score, kinds, v.Evidence.Summary)
		}
	}
	}
}

func make1(n int, file string) {
	dir, _ := os.MkdirTemp("", "x")
	fl := filepath.Join(dir, "flows.yaml")
	os.WriteFile(fl, []byte(traffic.ShopFlows), 0o600)
	keys, _ := flow.NewKeyring(flow.PublicKey)
	m, err := config.LoadMap(fl)
	if err != nil {
		panic(err)
	}
	m.Site = "shop"
	x, err := flow.NewExtractor(flow.Config{Keys: keys, Sites: []flow.Site{{Name: "shop", Hosts: []string{"shop.example"}, Map: m}}})
	if err != nil {
		panic(err)
	}
	seed, _ := scenario.Development.Seed(9)
	i := 0
	var line []byte
	var ex flow.Exchange
	var ev event.Event
	enc := wire.NewEncoder(wire.EncoderConfig{})
	var out rec
	first := uint64(1)
	err = scenario.Shop(scenario.Config{Seed: seed, People: max(n/20, 100), Days: 3, Attacks: []string{"all:plain@0.5"}}, func(t *traffic.Exchange, _ *traffic.Label) error {
		if i == n {
			return enough
		}
		i++
		t.ID = "r-" + strconv.Itoa(i)
		line = t.AppendJSON(line[:0])
		if err := flow.ParseExchange(line[:len(line)-1], &ex); err != nil {
			return err
		}
		x.Begin(&ex, &ev)
		x.End(&ex, &ev)
		if err := enc.Append(&ev); err != nil {
			return err
		}
		if enc.Len() == 200 {
			c := enc.Len()
			if r, ok := enc.Flush("bench", first); ok {
				out.Records = append(out.Records, r)
				first += uint64(c)
			}
		}
		return nil
	})
	if !errors.Is(err, enough) {
		panic(err)
	}
	var b bytes.Buffer
	gob.NewEncoder(&b).Encode(out)
	os.WriteFile(file, b.Bytes(), 0o600)
}
