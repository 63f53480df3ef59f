package line

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirproject/weir/baseline/route"
	"github.com/weirproject/weir/cmd/admin"
	"github.com/weirproject/weir/collector/accesslog"
	"github.com/weirproject/weir/stream/flow"
)

// SuggestOptions say from what a flow map is proposed.
type SuggestOptions struct {
	// Files and Format are as for a replay. Host keeps the exchanges of one host
	// only, "" all.
	Files        []string
	Format, Host string
	// Site names the map's site; empty is "default".
	Site string
}

// SuggestFiles proposes a flow map from recorded exchanges or access logs.
// complain hears of each line that is rejected.
func SuggestFiles(ctx context.Context, opt SuggestOptions, complain func(error), progress func(int64)) (*route.Proposal, error) {
	f, err := accesslog.ParseFormat(opt.Format)
	if err != nil {
		return nil, err
	}
	s := route.NewSurvey()
	var n int64
	_, err = accesslog.Replay(ctx, accesslog.ReplayConfig{Paths: opt.Files, Format: f, Stdin: os.Stdin, Reject: complain}, func(x *flow.Exchange) error {
		if n++; n&1023 == 0 {
			progress(n)
		}
		if opt.Host == "" || x.Host == opt.Host {
			s.Add(x)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("suggest: %w", err)
	}
	p := s.Suggest(cmp.Or(opt.Site, "default"))
	if p.Exchanges == 0 {
		return nil, errors.New("suggest: no exchange could be used: are --format and --host right?")
	}
	return &p, nil
}

// suggestRows bounds what is asked of the store.
const suggestRows = 50_000

// SuggestStored proposes a flow map from what the running weir has stored about
// a site: paths, methods, statuses and parameter names. Bodies and cookies are
// never stored, so that selectors are left to a person. What weir answered
// itself is left out. An empty site is the one that has requests, if only one has.
func SuggestStored(ctx context.Context, c *admin.Client, site string, since time.Duration) (*route.Proposal, error) {
	site, err := storedSite(ctx, c, site, since)
	if err != nil {
		return nil, err
	}
	query := fmt.Sprintf(`SELECT method, path, query_keys, status, count() AS n FROM requests
WHERE site = %s AND time > now() - INTERVAL %d SECOND AND method != '' AND action NOT IN ('block', 'rate_limit', 'challenge', 'redirect', 'rewrite')
GROUP BY method, path, query_keys, status ORDER BY n DESC, path, method, status, query_keys LIMIT %d`, quoteAll([]string{site}), int64(since/time.Second), suggestRows)
	var t admin.Table
	if err := c.Post(ctx, "/v1/sql", admin.SQLRequest{Query: query}, &t); err != nil {
		return nil, err
	}
	s := route.NewSurvey()
	for _, row := range t.Rows {
		if len(row) != 5 {
			return nil, fmt.Errorf("suggest: the store answered %d columns, want 5", len(row))
		}
		s.AddCount(route.Observation{Method: fmt.Sprint(row[0]), Path: fmt.Sprint(row[1]), QueryKeys: fmt.Sprint(row[2]), Status: uint16(number(row[3]))}, number(row[4]))
	}
	p := s.Suggest(site)
	return &p, nil
}

// storedSite checks that the store has requests of a site, or finds the only one.
func storedSite(ctx context.Context, c *admin.Client, site string, since time.Duration) (string, error) {
	query := fmt.Sprintf("SELECT DISTINCT site FROM requests WHERE time > now() - INTERVAL %d SECOND ORDER BY site", int64(since/time.Second))
	var t admin.Table
	if err := c.Post(ctx, "/v1/sql", admin.SQLRequest{Query: query}, &t); err != nil {
		return "", err
	}
	var sites []string
	for _, row := range t.Rows {
		sites = append(sites, fmt.Sprint(row[0]))
	}
	switch {
	case len(sites) == 0:
		return "", fmt.Errorf("suggest: nothing was stored in the last %v", since)
	case site == "" && len(sites) == 1:
		return sites[0], nil
	case !slices.Contains(sites, site):
		return "", fmt.Errorf("suggest: name the site by --site (requests of the last %v: %s)", since, strings.Join(sites, ", "))
	}
	return site, nil
}

// number reads a count from a decoded answer.
func number(v any) uint64 {
	switch v := v.(type) {
	case float64:
		return uint64(v)
	case json.Number:
		n, _ := strconv.ParseUint(v.String(), 10, 64)
		return n
	case string:
		n, _ := strconv.ParseUint(v, 10, 64)
		return n
	}
	return 0
}
