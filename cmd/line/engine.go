package line

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/weirproject/weir/cmd/supervise"
	"github.com/weirproject/weir/store/embedded"
)

// restartEngineAfter is the pause before the embedded engine is started again.
const restartEngineAfter = 500 * time.Millisecond

// runEngine keeps the embedded ClickHouse engine running until ctx ends; first
// hears once how the first start went.
func (u *up) runEngine(ctx context.Context, first chan<- error) error {
	engine, err := u.newEngine(ctx)
	if err != nil {
		first <- err
		return nil //nolint:nilerr // told through first
	}
	for started := false; ctx.Err() == nil; {
		err := engine.Run(ctx, func(e embedded.Endpoint) {
			u.announceEngine(engine.PID(), e, !started)
			if !started {
				started = true
				first <- nil
			}
		})
		switch {
		case ctx.Err() != nil:
		case !started:
			first <- fmt.Errorf("store: %w", err)
			return nil
		default:
			u.Log.Warn("the store ended, restarting it", "err", err)
			u.setEngine(supervise.State{Name: "store", LastExit: fmt.Sprint(err)})
			select {
			case <-ctx.Done():
			case <-time.After(restartEngineAfter):
			}
		}
	}
	return nil
}

func (u *up) newEngine(ctx context.Context) (*embedded.Engine, error) {
	binary, err := fetch(ctx, u.opt.Out)
	if err != nil {
		return nil, err
	}
	return embedded.New(embedded.Config{
		Dir: filepath.Join(u.Config.Data, "clickhouse"), Engine: binary,
		Command: []string{"/proc/self/exe", "child", "clickhouse"}, HTTPPort: u.Config.ClickHouse.EmbeddedHTTP,
		GrafanaDir: filepath.Join(u.Config.Data, "grafana"),
	}, u.Log)
}

// announceEngine tells the user, status and the other parts where the engine is.
func (u *up) announceEngine(pid int, e embedded.Endpoint, first bool) {
	detail := "ClickHouse native " + e.TCP + ", HTTP " + e.HTTP
	u.setEngine(supervise.State{Name: "store", PID: pid, Ready: true, Detail: detail, Since: time.Now()})
	if err := writeRunFile(u.Config.Data, "store.json", storeFile{TCP: e.TCP, HTTP: e.HTTP, Users: e.Users}); err != nil {
		u.Log.Error("tell the other parts where the store is", "err", err)
	}
	if first {
		u.say("store", detail)
	}
}

func (u *up) setEngine(s supervise.State) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s.Restarts = u.engine.Restarts
	if u.engine.Name != "" && !s.Ready {
		s.Restarts++
	}
	u.engine = s
}
