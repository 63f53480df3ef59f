package line

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"

	"github.com/weirproject/weir/cmd/config"
	"github.com/weirproject/weir/stream/flow"
)

// lookup tells what is known of client addresses. Its data is replaced as a
// whole; a request never waits for it.
type lookup struct {
	data atomic.Pointer[lookupData]
	// verify checks bots by name; nil where a run must not depend on a network.
	verify *verifier
}

// lookupData is one state of the look-up files; both may be nil.
type lookupData struct {
	networks *config.Networks
	bots     *config.Bots
}

// loadLookup reads the configured files; the error joins their faults.
func loadLookup(c config.Lookup) (*lookupData, error) {
	d := &lookupData{}
	var err1, err2 error
	if c.ASN != "" {
		d.networks, err1 = config.LoadNetworks(c.ASN)
	}
	if c.VerifiedBots != "" {
		d.bots, err2 = config.LoadBots(c.VerifiedBots)
	}
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("lookup: %w", err)
	}
	return d, nil
}

// CheckLookup reports the faults of the configured look-up files.
func CheckLookup(c config.Lookup) error {
	_, err := loadLookup(c)
	return err
}

// find implements flow.Config.Lookup.
func (l *lookup) find(client netip.Addr, userAgent string) (n flow.Network) {
	d := l.data.Load()
	if d == nil {
		return n
	}
	if d.networks != nil {
		n.ASN, n.Country = d.networks.Find(client)
	}
	if d.bots == nil {
		return n
	}
	n.VerifiedBot = d.bots.Published(client, userAgent)
	if !n.VerifiedBot && l.verify != nil {
		if rule := d.bots.Declared(userAgent); rule != nil {
			n.VerifiedBot = l.verify.verified(client, rule)
		}
	}
	return n
}

// describe says which data is in use, for status.
func (l *lookup) describe() (notes []string) {
	d := l.data.Load()
	if d == nil || d.networks == nil {
		notes = append(notes, "client_asn and country are empty: lookup.asn names no data")
	} else {
		notes = append(notes, fmt.Sprintf("networks: %d ranges of %s", d.networks.Len(), d.networks.Source))
	}
	if d == nil || d.bots == nil {
		notes = append(notes, "no bot is verified: lookup.verifiedBots names no data")
	} else {
		networks, domains := d.bots.Len()
		notes = append(notes, fmt.Sprintf("verified bots: %d networks and %d domains of %s", networks, domains, d.bots.Source))
	}
	return notes
}
