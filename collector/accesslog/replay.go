package accesslog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/weirproject/weir/stream/event"
	"github.com/weirproject/weir/stream/flow"
)

// ReplayConfig says what to replay.
type ReplayConfig struct {
	// Paths in order; "-" is Stdin. ".gz" and ".zst" files are decompressed.
	Paths  []string
	Format Format
	// Site and Node are given to every exchange; an empty site leaves it to the
	// extractor, by host.
	Site, Node string
	// Strict ends the replay at the first rejected line.
	Strict     bool
	DeadLetter *DeadLetter
	// Stdin defaults to os.Stdin.
	Stdin io.Reader
	// Reject, if set, hears of each rejected line; err names file, line and
	// reason.
	Reject func(err error)
}

// Validate reports all faults.
func (c ReplayConfig) Validate() error {
	var errs []error
	if len(c.Paths) == 0 {
		errs = append(errs, errors.New("replay needs a file, or - for standard input"))
	}
	stdin := 0
	for _, p := range c.Paths {
		if p == "-" {
			stdin++
		}
	}
	if stdin > 1 {
		errs = append(errs, errors.New("standard input (-) can be read once"))
	}
	return errors.Join(errs...)
}

// ReplayStats counts a replay's lines.
type ReplayStats struct {
	// Lines that were not empty = Exchanges + Rejected.
	Lines, Exchanges, Rejected uint64
	// ByReason counts the rejected lines by "syntax", "value", "long" and "repeated".
	ByReason map[string]uint64
	Bytes    uint64
}

// Replay hands every exchange of the files to emit, in order. x is reused: emit
// keeps nothing of it but strings. An error of emit or of reading ends the
// replay; rejected lines do so only when Strict.
func Replay(ctx context.Context, cfg ReplayConfig, emit func(x *flow.Exchange) error) (ReplayStats, error) {
	stats := ReplayStats{ByReason: map[string]uint64{}}
	if err := cfg.Validate(); err != nil {
		return stats, err
	}
	names := map[string]int{}
	ids := idSet{}
	for _, path := range cfg.Paths {
		base := baseName(path)
		if names[base]++; names[base] > 1 {
			base += "~" + strconv.Itoa(names[base])
		}
		r := replay{cfg: &cfg, stats: &stats, base: base, parser: NewParser(cfg.Format), ids: ids, emit: emit}
		if err := r.file(ctx, path); err != nil {
			return stats, err
		}
	}
	return stats, nil
}

// baseName is a path's last element, at most 100 bytes, so that ids stay within
// theirs.
func baseName(path string) string {
	if path == "-" {
		return "stdin"
	}
	base := filepath.Base(path)
	return base[:min(len(base), 100)]
}

type replay struct {
	cfg    *ReplayConfig
	stats  *ReplayStats
	base   string
	parser *Parser
	ids    idSet
	emit   func(*flow.Exchange) error
}

// idSet holds the 64-bit FNV-1a hashes of the ids that exchange lines brought:
// about 20 bytes each. Ids of log lines are unique by themselves.
type idSet map[uint64]struct{}

// add reports whether id is new. Two different ids share a hash with a
// probability of n*n/2^65, 1e-8 for a million lines.
func (s idSet) add(id string) bool {
	h := uint64(14695981039346656037)
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	if _, seen := s[h]; seen {
		return false
	}
	s[h] = struct{}{}
	return true
}

func (r *replay) file(ctx context.Context, path string) error {
	in, closeAll, err := open(path, r.cfg.Stdin)
	if err != nil {
		return err
	}
	defer closeAll()
	lines := newLineReader(in, r.cfg.Format.maxLine())
	var x flow.Exchange
	id := append([]byte(r.base), ':')
	for n := uint64(1); ; n++ {
		l, err := lines.next()
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
		last := err != nil
		if last && !l.partial {
			return nil
		}
		r.stats.Bytes += uint64(l.size)
		if n == 1 {
			l.text = bytes.TrimPrefix(l.text, []byte("\ufeff")) // as editors of another system leave it
		}
		if err := r.line(path, n, l, strconv.AppendUint(id, n, 10), &x); err != nil {
			return err
		}
		if last {
			return nil
		}
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (r *replay) line(path string, n uint64, l line, id []byte, x *flow.Exchange) error {
	err := ErrLong
	if !l.long {
		err = r.parser.Parse(l.text, id, x)
	}
	if err == nil && r.parser.Format() == FormatExchange && !r.ids.add(x.ID) {
		err = fmt.Errorf("%w: id %.60q", ErrRepeated, x.ID)
	}
	switch {
	case errors.Is(err, ErrEmpty):
		return nil
	case err == nil:
		r.stats.Lines++
		r.stats.Exchanges++
		if r.cfg.Site != "" {
			x.Site = r.cfg.Site
		}
		x.Node, x.Source = r.cfg.Node, event.SourceReplay
		return r.emit(x)
	}
	r.stats.Lines++
	r.stats.Rejected++
	r.stats.ByReason[reasonOf(err)]++
	where := path + ":" + strconv.FormatUint(n, 10)
	rejected := fmt.Errorf("%s: %w", where, err)
	if r.cfg.Reject != nil {
		r.cfg.Reject(rejected)
	}
	if r.cfg.Strict {
		return rejected
	}
	return r.cfg.DeadLetter.Add(where, r.parser.Format(), err, l.text)
}

// reasonOf names why a line was rejected, as a metric label.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, ErrLong):
		return "long"
	case errors.Is(err, ErrValue):
		return "value"
	case errors.Is(err, ErrEmpty):
		return "empty"
	case errors.Is(err, ErrRepeated):
		return "repeated"
	default:
		return "syntax"
	}
}

// open opens a file, or standard input, and its compression.
func open(path string, stdin io.Reader) (io.Reader, func(), error) {
	if path == "-" {
		if stdin == nil {
			stdin = os.Stdin
		}
		return stdin, func() {}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	closeFile := func() { _ = f.Close() } // read only: nothing can be lost
	switch {
	case strings.HasSuffix(path, ".gz"):
		z, err := gzip.NewReader(f)
		if err != nil {
			closeFile()
			return nil, nil, fmt.Errorf("%s: %w", path, err)
		}
		return z, closeFile, nil
	case strings.HasSuffix(path, ".zst"):
		// The window, and so the memory, of a frame is bounded.
		z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			closeFile()
			return nil, nil, fmt.Errorf("%s: %w", path, err)
		}
		return z, func() { z.Close(); closeFile() }, nil
	}
	return f, closeFile, nil
}
