package embedded

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The users of the engine.
const (
	// Writer owns the database weir and nothing else.
	Writer = "weir"
	// Analyst reads the database weir within limits of time, rows and memory.
	Analyst = "analyst"
	// Auditor also reads the engine's own tables (users, grants, parts) and has
	// wider limits; it writes nothing either.
	Auditor = "auditor"
)

// Credentials maps each user to its password. They are random per data
// directory, never printed, and kept in a file with mode 0600.
type Credentials map[string]string

// LoadCredentials reads the passwords under dir, or makes them on the first
// start.
func LoadCredentials(dir string) (Credentials, error) {
	path := filepath.Join(dir, "credentials.json")
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		c := Credentials{Writer: rand.Text(), Analyst: rand.Text(), Auditor: rand.Text()}
		if raw, err = json.Marshal(c); err != nil {
			return nil, fmt.Errorf("engine credentials: %w", err)
		}
		return c, writePrivate(path, append(raw, '\n'))
	}
	if err != nil {
		return nil, fmt.Errorf("engine credentials: %w", err)
	}
	var c Credentials
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("engine credentials %s: %w: remove the file to have new ones made", path, err)
	}
	for _, name := range []string{Writer, Analyst, Auditor} {
		if len(c[name]) < 16 {
			return nil, fmt.Errorf("engine credentials %s: no password for %s: remove the file to have new ones made", path, name)
		}
	}
	return c, nil
}
