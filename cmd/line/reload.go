package line

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/weirproject/weir/cmd/config"
)

// reload reads the configuration again on every signal of hup until ctx ends,
// writes it for the parts and tells them. A faulty one changes nothing; what
// only a restart can change is named.
func (u *up) reload(ctx context.Context, hup <-chan os.Signal) error {
	last := u.Config
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
		}
		cfg, err := u.opt.Reload()
		if err == nil {
			err = cfg.WriteFile(u.config)
		}
		if err != nil {
			u.Log.Error("reload refused, the previous configuration stays in force", "err", err)
			_, _ = fmt.Fprintf(u.opt.Out, "reload refused, the previous configuration stays in force: %v\n", err)
			continue
		}
		u.parts.Signal(syscall.SIGHUP, "enforce")
		_, _ = fmt.Fprintln(u.opt.Out, told(cfg.Diff(&last.Config)))
		last = cfg
	}
}

// told says what a reload changed.
func told(changes []config.Change) string {
	var now, later []string
	for _, c := range changes {
		if c.Reload {
			now = append(now, c.Path)
		} else {
			later = append(later, c.Path)
		}
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
