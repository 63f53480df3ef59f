package embedded

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// writeDatasource writes GrafanaDir/datasource.yaml, a provisioning file for
// Grafana's ClickHouse plugin that logs in as analyst. It holds a password, so
// it is 0600; Grafana must run as the same user or be given a copy. JSON strings
// are valid YAML scalars, which is how the values are quoted.
func (e *Engine) writeDatasource() error {
	if e.cfg.GrafanaDir == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(e.endpoint.HTTP)
	if err != nil {
		return fmt.Errorf("grafana data source: %w", err)
	}
	password, err := json.Marshal(e.endpoint.Users[Analyst])
	if err != nil {
		return fmt.Errorf("grafana data source: %w", err)
	}
	if err := os.MkdirAll(e.cfg.GrafanaDir, 0o700); err != nil {
		return fmt.Errorf("grafana data source: %w", err)
	}
	// queryTimeout plus the 5 s that the plugin's driver adds stays within the
	// analyst's own limit; a larger value would be refused with each query.
	text := fmt.Sprintf(`apiVersion: 1
datasources:
  - name: weir
    uid: weir
    type: grafana-clickhouse-datasource
    access: proxy
    editable: false
    jsonData:
      host: %s
      port: %s
      protocol: http
      username: %s
      defaultDatabase: weir
      secure: false
      dialTimeout: "5"
      queryTimeout: "20"
    secureJsonData:
      password: %s
`, host, port, Analyst, password)
	return writePrivate(filepath.Join(e.cfg.GrafanaDir, "datasource.yaml"), []byte(text))
}
