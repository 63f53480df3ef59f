package line

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/stream"
)

func TestSnapshotsStandWhereTheConfigurationSays(t *testing.T) {
	store := func(p config.Process) (stream.SnapshotStore, error) {
		return snapshotStore(&config.Loaded{Config: config.Config{Process: p}})
	}
	if s, err := store(config.Process{Snapshots: t.TempDir()}); err != nil {
		t.Error(err)
	} else if _, ok := s.(*stream.Directory); !ok {
		t.Errorf("a directory gives %T", s)
	}
	login := config.S3{Endpoint: "http://127.0.0.1:9", AccessKey: "a", SecretKey: "b"}
	if s, err := store(config.Process{Snapshots: "s3://weir/prefix", S3: login}); err != nil {
		t.Error(err)
	} else if _, ok := s.(*stream.Bucket); !ok {
		t.Errorf("an s3:// address gives %T", s)
	}
	login.CA = "none.pem"
	if _, err := store(config.Process{Snapshots: "s3://weir/prefix", S3: login}); err == nil || !strings.HasPrefix(err.Error(), "process.s3.ca:") {
		t.Errorf("absent authorities: %v", err)
	}
}

func TestDoctorAsksTheObjectStore(t *testing.T) {
	status := http.StatusOK
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `<?xml version="1.0"?><ListBucketResult><Name>weir</Name><IsTruncated>false</IsTruncated></ListBucketResult>`)
	}))
	defer srv.Close()
	cfg := &config.Loaded{Config: config.Config{Process: config.Process{
		Snapshots: "s3://weir/prefix", S3: config.S3{Endpoint: srv.URL, Region: "a", AccessKey: "a", SecretKey: "b"},
	}}}
	if f := bucket(t.Context(), cfg); !f.OK || f.Remedy != "" || f.Detail != "s3://weir/prefix" {
		t.Errorf("%+v", f)
	}
	status = http.StatusForbidden
	if f := bucket(t.Context(), cfg); f.OK || f.Remedy == "" || !f.Required {
		t.Errorf("forbidden: %+v", f)
	}
}
