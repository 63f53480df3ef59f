package admin

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Metrics returns a handler that joins the metrics of several parts, each
// reached by its client and told apart by the label "part". A part that does
// not answer is left out and shows as weir_up{part} 0.
func Metrics(parts func() map[string]*Client) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		families := map[string]*dto.MetricFamily{}
		up := &dto.MetricFamily{
			Name: new("weir_up"), Help: new("Whether the part answered."), Type: dto.MetricType_GAUGE.Enum(),
		}
		all := parts()
		for _, part := range slices.Sorted(maps.Keys(all)) {
			value := 1.0
			if err := collect(r.Context(), all[part], part, families); err != nil {
				value = 0
			}
			up.Metric = append(up.Metric, &dto.Metric{
				Label: []*dto.LabelPair{{Name: new("part"), Value: &part}}, Gauge: &dto.Gauge{Value: &value},
			})
		}
		families[up.GetName()] = up
		format := expfmt.NewFormat(expfmt.TypeTextPlain)
		w.Header().Set("Content-Type", string(format))
		enc := expfmt.NewEncoder(w, format)
		for _, name := range slices.Sorted(maps.Keys(families)) {
			if err := enc.Encode(families[name]); err != nil {
				return // the peer is gone
			}
		}
	})
}

func collect(ctx context.Context, c *Client, part string, into map[string]*dto.MetricFamily) error {
	body, err := c.Open(ctx, http.MethodGet, "/metrics", nil)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	got, err := parser.TextToMetricFamilies(io.LimitReader(body, 16<<20))
	if err != nil {
		return fmt.Errorf("metrics of %s: %w", part, err)
	}
	for name, family := range got {
		for _, m := range family.Metric {
			m.Label = append(m.Label, &dto.LabelPair{Name: new("part"), Value: &part})
		}
		if have := into[name]; have == nil {
			into[name] = family
		} else if have.GetType() == family.GetType() {
			have.Metric = append(have.Metric, family.Metric...)
		}
	}
	return nil
}
