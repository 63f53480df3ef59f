package flow

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/weirproject/weir/stream/event"
)

// ErrOwners says that saved owners cannot be used: damaged, of another version,
// or made under another pseudonym key.
var ErrOwners = errors.New("saved session owners are unusable")

// ownersMagic begins saved owners; the digit is the layout's version. There
// follow the key id (length, bytes), then pairs of session and account as
// big-endian words, then the SHA-256 of all before it.
const ownersMagic = "weirowners1\n"

// ownerBytes is one saved pair.
const ownerBytes = 16

// OwnersVersion rises whenever what SaveOwners writes changes.
func (e *Extractor) OwnersVersion() uint64 { return e.owners.version.Load() }

// SaveOwners writes whose sessions are whose, as pseudonyms: at most
// Config.Sessions pairs of 16 bytes. Requests go on meanwhile.
func (e *Extractor) SaveOwners(w io.Writer) error {
	sum := sha256.New()
	b := bufio.NewWriter(io.MultiWriter(w, sum))
	id := e.KeyID()
	_, _ = b.WriteString(ownersMagic) // bufio keeps the error until Flush
	_ = b.WriteByte(byte(len(id)))
	_, _ = b.WriteString(id)
	var pair [ownerBytes]byte
	var slots []ownerSlot
	for i := range e.owners.shards {
		slots = e.owners.shards[i].copy(slots[:0])
		for _, s := range slots {
			binary.BigEndian.PutUint64(pair[:], uint64(s.session))
			binary.BigEndian.PutUint64(pair[8:], uint64(s.account))
			_, _ = b.Write(pair[:])
		}
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("save session owners: %w", err)
	}
	if _, err := w.Write(sum.Sum(nil)); err != nil {
		return fmt.Errorf("save session owners: %w", err)
	}
	return nil
}

// LoadOwners brings back what SaveOwners wrote and returns how many sessions.
// It reads no more than Config.Sessions pairs take; what is damaged, or was made
// under another key, is refused whole (ErrOwners).
func (e *Extractor) LoadOwners(r io.Reader) (int, error) {
	head := len(ownersMagic) + 1 + len(e.KeyID())
	most := int64(head + e.owners.size*ownerShards*ownerBytes + sha256.Size)
	raw, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return 0, fmt.Errorf("load session owners: %w", err)
	}
	body := len(raw) - sha256.Size
	switch {
	case body < len(ownersMagic)+1 || string(raw[:len(ownersMagic)]) != ownersMagic:
		return 0, fmt.Errorf("%w: not written by this version of weir", ErrOwners)
	case int64(len(raw)) > most:
		return 0, fmt.Errorf("%w: more than %d sessions", ErrOwners, e.owners.size*ownerShards)
	case sha256.Sum256(raw[:body]) != [sha256.Size]byte(raw[body:]):
		return 0, fmt.Errorf("%w: the checksum is wrong, the file is damaged", ErrOwners)
	case body < head || int(raw[len(ownersMagic)]) != len(e.KeyID()) || string(raw[len(ownersMagic)+1:head]) != e.KeyID():
		return 0, fmt.Errorf("%w: made under another pseudonym key", ErrOwners)
	case (body-head)%ownerBytes != 0:
		return 0, fmt.Errorf("%w: cut short", ErrOwners)
	}
	n := 0
	for p := raw[head:body]; len(p) > 0; p = p[ownerBytes:] {
		e.owners.set(event.Hash(binary.BigEndian.Uint64(p)), event.Hash(binary.BigEndian.Uint64(p[8:])))
		n++
	}
	return n, nil
}
