package config

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/weirproject/weir/stream/flow"
)

// A key file holds the current pseudonym key and, while it is being replaced,
// the previous one: one key per line in hex, the current first; lines that
// start with # are comments.

// Keyring loads the pseudonym keys from a file or, for "env:NAME", from the
// environment, where the keys are separated by commas.
func Keyring(source string, lookup func(string) (string, bool)) (*flow.Keyring, error) {
	if name, ok := strings.CutPrefix(source, "env:"); ok {
		value, set := lookup(name)
		if !set || strings.TrimSpace(value) == "" {
			return nil, fmt.Errorf("pseudonym key: environment variable %s is not set", name)
		}
		return parseKeys("environment variable "+name, strings.ReplaceAll(value, ",", "\n"))
	}
	info, err := os.Stat(source)
	if err != nil {
		return nil, fmt.Errorf("pseudonym key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("pseudonym key %s may be read by others (mode %v): chmod 600 %s", source, info.Mode().Perm(), source)
	}
	text, err := readFile(source)
	if err != nil {
		return nil, fmt.Errorf("pseudonym key: %w", err)
	}
	return parseKeys(source, string(text))
}

// EnsureKeyring is Keyring, but makes a missing file with a new random key
// (0600, its directory 0700). created tells that it did.
func EnsureKeyring(source string, lookup func(string) (string, bool)) (ring *flow.Keyring, created bool, err error) {
	if !strings.HasPrefix(source, "env:") {
		if created, err = createKey(source); err != nil {
			return nil, false, err
		}
	}
	ring, err = Keyring(source, lookup)
	return ring, created, err
}

// createKey makes a key file unless there is one. The file appears whole or not
// at all, and when two processes start at once, the first one's key stays.
func createKey(path string) (created bool, err error) {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, os.ErrNotExist) {
		return false, nil // what else is wrong shows when the file is read
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return false, fmt.Errorf("pseudonym key: %w", err)
	}
	text, err := newKeyText()
	if err != nil {
		return false, err
	}
	tmp, err := writeTemp(path, text)
	if err != nil {
		return false, err
	}
	defer func() { _ = os.Remove(tmp) }() // a second name of the same file
	if err := os.Link(tmp, path); err != nil {
		if errors.Is(err, os.ErrExist) {
			return false, nil
		}
		return false, fmt.Errorf("pseudonym key: %w", err)
	}
	return true, nil
}

// RotateKey puts a new key in front of the current one, which stays valid as
// the previous one; an older one is dropped. A key of the environment is the
// operator's to replace.
func RotateKey(path string) error {
	if name, ok := strings.CutPrefix(path, "env:"); ok {
		return fmt.Errorf("pseudonym key: put a new one and a comma before the one in environment variable %s", name)
	}
	if _, err := Keyring(path, nil); err != nil {
		return err
	}
	old, err := readFile(path)
	if err != nil {
		return fmt.Errorf("pseudonym key: %w", err)
	}
	text, err := newKeyText()
	if err != nil {
		return err
	}
	tmp, err := writeTemp(path, text+keyLines(string(old))[0]+"\n")
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("pseudonym key: %w", errors.Join(err, os.Remove(tmp)))
	}
	return nil
}

func newKeyText() (string, error) {
	secret := make([]byte, flow.KeyBytes)
	if _, err := rand.Read(secret); err != nil {
		return "", fmt.Errorf("pseudonym key: %w", err)
	}
	return "# weir pseudonym key: all nodes of an installation share it; keep it secret\n" + hex.EncodeToString(secret) + "\n", nil
}

// writeTemp writes a synced file (0600) beside path and returns its name.
func writeTemp(path, text string) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*")
	if err != nil {
		return "", fmt.Errorf("pseudonym key: %w", err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", fmt.Errorf("pseudonym key: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return f.Name(), nil
}

func keyLines(text string) (out []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			out = append(out, line)
		}
	}
	return out
}

// parseKeys reads the keys; no error shows any part of one.
func parseKeys(source, text string) (*flow.Keyring, error) {
	var keys [][]byte
	for i, line := range keyLines(text) {
		key, err := hex.DecodeString(line)
		if err != nil {
			return nil, fmt.Errorf("pseudonym key %d in %s is not hex: want %d digits; restore the file from a backup, since another key gives everybody another name in the store", i+1, source, 2*flow.KeyBytes)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s holds no pseudonym key", source)
	}
	ring, err := flow.NewKeyring(keys[0], keys[1:]...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	return ring, nil
}
