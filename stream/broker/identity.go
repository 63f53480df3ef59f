package broker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Files in Config.Dir beside kfake's own directory "log".
const (
	fileCredentials = "credentials.json"
	fileIncarnation = "incarnation.json"
	fileReady       = "ready.json"
	fileLock        = "lock"
	dirLog          = "log"
)

// dialTimeout is for a connection on loopback.
const dialTimeout = 10 * time.Second

// Credentials let a client log in with SCRAM-SHA-256.
type Credentials struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// Ready says where a running broker is reached.
type Ready struct {
	Address string `json:"address"`
	// Incarnation is the cluster id, see Incarnation.
	Incarnation string `json:"incarnation"`
	PID         int    `json:"pid"`
}

// ReadCredentials reads the credentials of the broker in dir; they exist from
// its first start on and stay.
func ReadCredentials(dir string) (c Credentials, err error) {
	err = readJSON(filepath.Join(dir, fileCredentials), &c)
	if err == nil && (c.User == "" || c.Password == "") {
		err = fmt.Errorf("%s: user or password is missing; remove the file to have new ones made", fileCredentials)
	}
	return c, err
}

// ReadReady reads the ready file of the broker in dir. It is absent
// (fs.ErrNotExist) while no broker serves, but may be left behind by a killed
// one: the address then refuses connections.
func ReadReady(dir string) (r Ready, err error) {
	err = readJSON(filepath.Join(dir, fileReady), &r)
	return r, err
}

// Dial returns a client's dialer for the broker in dir. Whatever address the
// client was told, it dials where the broker serves now: one that is started
// again while somebody has its port serves on another.
func Dial(dir string) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if now, err := ReadReady(dir); err == nil {
			address = now.Address
		}
		return d.DialContext(ctx, network, address)
	}
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s is damaged (%w): remove the file to have a new one made", path, err)
	}
	return nil
}

// writeJSON replaces a file atomically, mode 0600.
func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// lock takes the directory for this process; the kernel frees it when the
// process ends.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, fileLock), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s is in use by another broker: stop it, or choose another data directory: %w", dir, err)
	}
	return f, nil
}

// credentials reads the credentials or makes them.
func credentials(dir string) (Credentials, error) {
	c, err := ReadCredentials(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	c = Credentials{User: "weir", Password: random(24)}
	return c, writeJSON(filepath.Join(dir, fileCredentials), c)
}

func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}

// incarnation is the identity of the log's offsets.
type incarnation struct {
	ID string `json:"id"`
	// Boot is the kernel's boot id while the broker ran, Clean whether it closed.
	Boot  string `json:"boot"`
	Clean bool   `json:"clean"`
}

// openIncarnation returns the log's identity and marks it as in use. It changes
// when the log is new, and when the machine went down without a clean close:
// the last second of records may be gone then, their offsets will be given
// again, and a deduplication token made of the same numbers would swallow new
// records. kill -9 of the process alone loses nothing and changes nothing.
func openIncarnation(dir string) (incarnation, error) {
	path := filepath.Join(dir, fileIncarnation)
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return incarnation{}, fmt.Errorf("boot id: %w", err)
	}
	var i incarnation
	err = readJSON(path, &i)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return incarnation{}, err
	}
	now := strings.TrimSpace(string(boot))
	_, missing := os.Stat(filepath.Join(dir, dirLog, "meta.json"))
	if i.ID == "" || missing != nil || !i.Clean && i.Boot != now {
		i.ID = "weir-" + random(8)
	}
	i.Boot, i.Clean = now, false
	return i, writeJSON(path, i)
}

func closeIncarnation(dir string, i incarnation) error {
	i.Clean = true
	return writeJSON(filepath.Join(dir, fileIncarnation), i)
}

// prepareLog brings kfake's state files in line with ours: it keeps the cluster
// id and the users it started with first, whatever it is given later.
func prepareLog(dir, clusterID string) error {
	log := filepath.Join(dir, dirLog)
	if err := os.Remove(filepath.Join(log, "sasl.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	path := filepath.Join(log, "meta.json")
	meta := map[string]any{}
	err := readJSON(path, &meta)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || meta["cluster_id"] == clusterID {
		return err
	}
	meta["cluster_id"] = clusterID
	return writeJSON(path, meta)
}
