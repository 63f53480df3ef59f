package replay

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// State is a part of a run that can be kept: the engine, the enforcer.
type State struct {
	Name string
	Save func(io.Writer) error
	Load func(io.Reader) error
}

// stateMagic begins a state file; the digit is the layout's version.
const stateMagic = "weirstate1\n"

// maxStateBytes bounds what a state file may claim of one part.
const maxStateBytes = 8 << 30

// ErrState says that a state file cannot be used.
var ErrState = errors.New("unusable state file")

// SaveState writes the parts to path, replacing it atomically.
func SaveState(path string, parts ...State) (err error) {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err == nil {
			err = os.Rename(tmp, path)
		}
		if err != nil {
			_ = os.Remove(tmp)
			err = fmt.Errorf("write state %s: %w", path, err)
		}
	}()
	sum := sha256.New()
	w := bufio.NewWriter(io.MultiWriter(f, sum))
	_, _ = w.WriteString(stateMagic) // bufio keeps the error until Flush
	for _, p := range parts {
		var b bytes.Buffer
		if err := p.Save(&b); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		var head [16]byte
		binary.BigEndian.PutUint64(head[:], uint64(len(p.Name)))
		binary.BigEndian.PutUint64(head[8:], uint64(b.Len()))
		_, _ = w.Write(head[:])
		_, _ = w.WriteString(p.Name)
		_, _ = w.Write(b.Bytes())
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if _, err := f.Write(sum.Sum(nil)); err != nil {
		return err
	}
	return f.Sync()
}

// LoadState reads what SaveState wrote into the parts of the same names. A part
// that the file lacks is an error, and so is a file that was changed.
func LoadState(path string, parts ...State) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	if len(b) < len(stateMagic)+sha256.Size || string(b[:len(stateMagic)]) != stateMagic {
		return fmt.Errorf("%s: %w: not written by this version of weir", path, ErrState)
	}
	body, sum := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if want := sha256.Sum256(body); !bytes.Equal(want[:], sum) {
		return fmt.Errorf("%s: %w: the checksum is wrong, the file is damaged", path, ErrState)
	}
	body = body[len(stateMagic):]
	found := map[string][]byte{}
	for len(body) > 0 {
		if len(body) < 16 {
			return fmt.Errorf("%s: %w: cut short", path, ErrState)
		}
		name, size := binary.BigEndian.Uint64(body), binary.BigEndian.Uint64(body[8:])
		body = body[16:]
		if name > 64 || size > maxStateBytes || name+size > uint64(len(body)) {
			return fmt.Errorf("%s: %w: cut short", path, ErrState)
		}
		found[string(body[:name])] = body[name : name+size]
		body = body[name+size:]
	}
	for _, p := range parts {
		part, ok := found[p.Name]
		if !ok {
			return fmt.Errorf("%s: %w: it holds no %s", path, ErrState, p.Name)
		}
		if err := p.Load(bytes.NewReader(part)); err != nil {
			return fmt.Errorf("%s: %s: %w", path, p.Name, err)
		}
	}
	return nil
}
