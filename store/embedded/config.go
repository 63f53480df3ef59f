package embedded

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

// Config says where and how the engine runs.
type Config struct {
	// Dir holds the engine's data, configuration, credentials and log (0700).
	Dir string
	// ColdDir is the second disk: rows older than retention.events move there.
	// Default Dir/cold.
	ColdDir string
	// Engine is what Fetch returned.
	Engine Binary
	// Command starts this program so that it calls ChildMain with the arguments
	// that follow, such as {"/proc/self/exe", "child-clickhouse"}. Not used when
	// Engine is a clickhouse program.
	Command []string
	// HTTPPort is the fixed port on 127.0.0.1 for SQL clients and Grafana
	// (clickhouse.embeddedHTTP); 0 takes a free one at each start.
	HTTPPort int
	// MemoryBytes caps what queries and merges may use (max_server_memory_usage).
	// The mapped library adds about 200 MB to it. Default 1 GiB.
	MemoryBytes int64
	// Durable makes each insert reach the disk before it is acknowledged (about
	// 10 ms more per insert). Without it a power loss can take the last seconds;
	// a killed process loses nothing either way.
	Durable bool
	// LogBytes bounds the engine's log file; one older file of the same size is
	// kept. Default 4 MiB.
	LogBytes int64
	// GrafanaDir receives datasource.yaml for Grafana; empty writes none.
	GrafanaDir string
	// StartTimeout bounds one start until both ports answer (default 60 s: a big
	// store on a busy disk), StopTimeout a clean stop before the child is killed
	// (default 3 s).
	StartTimeout time.Duration
	StopTimeout  time.Duration
}

func (c Config) withDefaults() Config {
	if c.ColdDir == "" && c.Dir != "" {
		c.ColdDir = filepath.Join(c.Dir, "cold")
	}
	if c.MemoryBytes == 0 {
		c.MemoryBytes = 1 << 30
	}
	if c.LogBytes == 0 {
		c.LogBytes = 4 << 20
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = time.Minute
	}
	if c.StopTimeout == 0 {
		c.StopTimeout = 3 * time.Second
	}
	return c
}

// minMemoryBytes is the least with which migrations and inserts of 50,000 rows
// were seen to work.
const minMemoryBytes = 256 << 20

// Validate returns all faults of the configuration.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	add := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	add(c.Dir != "", "data: the embedded engine needs a directory")
	add(c.Engine.Path != "", "clickhouse: no engine library; fetch it first")
	add(c.Engine.Kind != KindLibrary || len(c.Command) > 0, "clickhouse: no command to run the engine library with")
	add(c.HTTPPort >= 0 && c.HTTPPort <= 65535, "clickhouse.embeddedHTTP: port %d is not in 0 to 65535", c.HTTPPort)
	add(c.MemoryBytes >= minMemoryBytes, "clickhouse.memory: %d bytes are fewer than the %d that the engine needs", c.MemoryBytes, minMemoryBytes)
	add(c.LogBytes > 0 && c.StartTimeout > 0 && c.StopTimeout > 0, "clickhouse: log size and timeouts must be positive")
	return errors.Join(errs...)
}

// serverConfig is config.xml. Local mode starts with small pools and a mark
// cache of 5 GiB; both are set for one small machine. Memory is taken stock of
// twice a second, not twenty times: that was a third of what an idle engine
// took. Statistics of each part's columns, on by default, are for joins and for
// filters without an index. listen_host keeps the
// ports off ::1 as well as off the network. The hot volume is named default so
// that a table can move from the default policy to this one.
var serverConfig = template.Must(template.New("config.xml").Funcs(template.FuncMap{"xml": escapeXML}).Parse(`<clickhouse>
  <users_config>{{xml .Dir}}/users.xml</users_config>
  <listen_host>127.0.0.1</listen_host>
  <max_server_memory_usage>{{.MemoryBytes}}</max_server_memory_usage>
  <max_temporary_data_on_disk_size>10737418240</max_temporary_data_on_disk_size>
  <mark_cache_size>67108864</mark_cache_size>
  <index_mark_cache_size>16777216</index_mark_cache_size>
  <max_connections>256</max_connections>
  <max_concurrent_queries>64</max_concurrent_queries>
  <keep_alive_timeout>60</keep_alive_timeout>
  <memory_worker_period_ms>500</memory_worker_period_ms>
  <background_pool_size>4</background_pool_size>
  <background_schedule_pool_size>16</background_schedule_pool_size>
  <access_control_improvements>
    <settings_constraints_replace_previous>true</settings_constraints_replace_previous>
    <select_from_system_db_requires_grant>true</select_from_system_db_requires_grant>
    <users_without_row_policies_can_read_rows>true</users_without_row_policies_can_read_rows>
  </access_control_improvements>
  <backups><allowed_path>{{xml .Dir}}/backups/</allowed_path></backups>
  <merge_tree>
    <auto_statistics_types></auto_statistics_types>
    <fsync_after_insert>{{if .Durable}}1{{else}}0{{end}}</fsync_after_insert>
    <fsync_part_directory>{{if .Durable}}1{{else}}0{{end}}</fsync_part_directory>
  </merge_tree>
  <storage_configuration>
    <disks>
      <cold><type>local</type><path>{{xml .ColdDir}}/</path></cold>
    </disks>
    <policies>
      <weir>
        <volumes><default><disk>default</disk></default><cold><disk>cold</disk></cold></volumes>
        <move_factor>0</move_factor>
      </weir>
    </policies>
  </storage_configuration>
</clickhouse>
`))

// userConfig is users.xml. SQL access control does not work in local mode and
// the file is read once, so the users are made before each start.
//
// The engine's own session logs in as default without a password, so default
// must exist; it holds the only session that its profile allows, and it may do
// nothing but open the ports. readonly=1 refuses every setting, except the ones
// marked changeable: clients derive max_execution_time from their deadline.
var userConfig = template.Must(template.New("users.xml").Parse(`<clickhouse>
  <profiles>
    <default></default>
    <boot><max_sessions_for_user>1</max_sessions_for_user></boot>
    <writer>
      <max_partitions_per_insert_block>1000</max_partitions_per_insert_block>
      <max_memory_usage>{{.QueryBytes}}</max_memory_usage>
      <max_bytes_before_external_group_by>{{.SpillBytes}}</max_bytes_before_external_group_by>
      <max_bytes_before_external_sort>{{.SpillBytes}}</max_bytes_before_external_sort>
    </writer>
    {{- range .Readers}}
    <{{.Name}}>
      <readonly>1</readonly>
      <max_execution_time>{{.Seconds}}</max_execution_time>
      <timeout_overflow_mode>throw</timeout_overflow_mode>
      <max_rows_to_read>{{.Rows}}</max_rows_to_read>
      <max_bytes_to_read>{{.Bytes}}</max_bytes_to_read>
      <read_overflow_mode>throw</read_overflow_mode>
      <max_result_rows>{{.ResultRows}}</max_result_rows>
      <max_result_bytes>1073741824</max_result_bytes>
      <result_overflow_mode>throw</result_overflow_mode>
      <max_memory_usage>{{$.QueryBytes}}</max_memory_usage>
      <max_bytes_before_external_group_by>{{$.SpillBytes}}</max_bytes_before_external_group_by>
      <max_bytes_before_external_sort>{{$.SpillBytes}}</max_bytes_before_external_sort>
      <max_concurrent_queries_for_user>16</max_concurrent_queries_for_user>
      <constraints>
        <max_execution_time><min>1</min><max>{{.MaxSeconds}}</max><changeable_in_readonly/></max_execution_time>
      </constraints>
    </{{.Name}}>
    {{- end}}
  </profiles>
  <users>
    <default>
      <no_password/>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>boot</profile><quota>default</quota>
      <grants><query>GRANT SYSTEM LISTEN ON *.*</query></grants>
    </default>
    {{- range .Users}}
    <{{.Name}}>
      <password_sha256_hex>{{.Digest}}</password_sha256_hex>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>{{.Profile}}</profile><quota>default</quota>
      <grants>{{range .Grants}}<query>{{.}}</query>{{end}}</grants>
    </{{.Name}}>
    {{- end}}
  </users>
  <quotas><default></default></quotas>
</clickhouse>
`))

type reader struct {
	Name                                         string
	Seconds, MaxSeconds, Rows, Bytes, ResultRows int64
}

type user struct {
	Name, Digest, Profile string
	Grants                []string
}

// readers are the limits of the two read-only users. 500 million rows are a
// day of 5,000 requests per second; a wider question belongs to the roll-ups.
var readers = []reader{
	{Name: Analyst, Seconds: 10, MaxSeconds: 30, Rows: 500e6, Bytes: 50e9, ResultRows: 100_000},
	{Name: Auditor, Seconds: 60, MaxSeconds: 300, Rows: 5e9, Bytes: 500e9, ResultRows: 1_000_000},
}

func userList(c Credentials) []user {
	digest := func(name string) string {
		sum := sha256.Sum256([]byte(c[name]))
		return hex.EncodeToString(sum[:])
	}
	return []user{
		{Name: Writer, Digest: digest(Writer), Profile: "writer", Grants: []string{
			"GRANT ALL ON weir.*", "GRANT TABLE ENGINE ON *", "GRANT SELECT ON system.*", "GRANT SHOW ON *.*", "GRANT KILL QUERY ON *.*",
		}},
		{Name: Analyst, Digest: digest(Analyst), Profile: Analyst, Grants: []string{"GRANT SELECT ON weir.*", "GRANT SHOW ON weir.*", "GRANT SELECT ON system.parts"}},
		{Name: Auditor, Digest: digest(Auditor), Profile: Auditor, Grants: []string{
			"GRANT SELECT ON weir.*", "GRANT SELECT ON system.*", "GRANT SHOW ON *.*", "GRANT SHOW ACCESS ON *.*",
		}},
	}
}

// writeConfig makes the directories and the two files of a start.
func (c Config) writeConfig(creds Credentials) error {
	for _, dir := range []string{c.Dir, c.ColdDir, filepath.Join(c.Dir, "data"), filepath.Join(c.Dir, "backups")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("embedded engine: %w", err)
		}
	}
	var server, users bytes.Buffer
	if err := serverConfig.Execute(&server, c); err != nil {
		return fmt.Errorf("embedded engine: config.xml: %w", err)
	}
	err := userConfig.Execute(&users, map[string]any{
		"Readers": readers, "Users": userList(creds),
		// One query gets at most two thirds of the cap and spills at a third, so
		// that a heavy question cannot starve the inserts.
		"QueryBytes": c.MemoryBytes * 2 / 3, "SpillBytes": c.MemoryBytes / 3,
	})
	if err != nil {
		return fmt.Errorf("embedded engine: users.xml: %w", err)
	}
	return errors.Join(
		writePrivate(filepath.Join(c.Dir, "config.xml"), server.Bytes()),
		writePrivate(filepath.Join(c.Dir, "users.xml"), users.Bytes()),
	)
}

// writePrivate replaces a file with mode 0600, whole or not at all.
func writePrivate(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func escapeXML(s string) (string, error) {
	var b strings.Builder
	err := xml.EscapeText(&b, []byte(s))
	return b.String(), err
}
