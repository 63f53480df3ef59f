package line

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/weirproject/weir/cmd/config"
)

// hearHangUp puts the configuration in force again on every SIGHUP until ctx
// ends. A faulty one changes nothing: it is logged, and status says so until one
// is good.
func (r *role) hearHangUp(ctx context.Context, hup <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
		}
		if r.Reload == nil {
			continue
		}
		cfg, err := r.Reload()
		if err == nil && r.reload != nil {
			err = r.reload(cfg)
		}
		if err != nil {
			r.Log.Error("reload refused, the previous configuration stays in force", "err", err)
			r.refuse(err)
			continue
		}
		changes := cfg.Diff(&r.now.Load().Config)
		r.now.Store(cfg)
		r.refused.Store(nil)
		r.Log.Info(told(changes, nil))
	}
}

// refuse notes for status why what was read is not in force.
func (r *role) refuse(err error) {
	why := refusal(err)
	r.refused.Store(&why)
}

func refusal(err error) string {
	return "reload refused at " + time.Now().UTC().Format(time.RFC3339) + ", the previous state stays in force: " +
		strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
}

// told says what a reload changed; maps are the sites whose flow maps did.
func told(changes []config.Change, maps []string) string {
	var now, later []string
	for _, c := range changes {
		if c.Reload {
			now = append(now, c.Path)
		} else {
			later = append(later, c.Path)
		}
	}
	for _, site := range maps {
		now = append(now, "flow map of "+site)
	}
	text := "reloaded"
	if len(now) > 0 {
		text += ": " + strings.Join(now, ", ")
	}
	if len(later) > 0 {
		text += "; only a restart changes " + strings.Join(later, ", ")
	}
	return text
}

// onHangUp registers for SIGHUP, which would otherwise end the supervisor and
// leave the ingress alone.
func onHangUp() (hup chan os.Signal, stop func()) {
	hup = make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	return hup, func() { signal.Stop(hup) }
}
