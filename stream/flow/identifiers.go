package flow

import (
	"hash/maphash"
	"math/bits"
	"strings"

	"github.com/weirproject/weir/stream/event"
)

// keysOf computes the identifiers that depend on the request alone.
func (r *request) keysOf(ev *event.Event) {
	k := r.key
	if v, ok := r.find(r.plan.session); ok {
		ev.Keys[event.KindSession] = k.hash("session", v)
	}
	if v, ok := r.find(r.plan.device); ok {
		ev.Keys[event.KindDevice] = k.hash("device", v)
	}
	st := k.get()
	defer k.put(st)
	known := network(ev, k, st)
	fingerprint := r.fingerprint(ev, st)
	ev.Keys[event.KindFingerprint] = fingerprint
	if known != nil {
		if known.fingerprint != fingerprint {
			st.buf = append(st.buf[:0], "client_fingerprint\x00"...)
			st.buf = append(ev.Client.AppendTo(st.buf), 0)
			st.buf = appendWord(st.buf, uint64(fingerprint))
			known.fingerprint, known.both = fingerprint, k.sum(st)
		}
		ev.Keys[event.KindClientFingerprint] = known.both
	}
	ev.Keys[event.KindRequestTemplate] = r.template(st)
}

// fingerprint is the pseudonym of the program: JA4, header order, user agent.
func (r *request) fingerprint(ev *event.Event, st *macState) event.Hash {
	p := programKey{ja4: ev.JA4, agent: ev.UserAgent, known: r.x.HeadersKnown}
	if p.known {
		p.core = r.heads.core
	}
	seed := r.key.cache.seeds[0]
	at := (maphash.String(seed, p.agent) ^ maphash.String(seed, p.ja4)<<1 ^ p.core) % uint64(len(st.programs))
	old := &st.programs[at]
	if old.fingerprint != 0 && old.core == p.core && old.known == p.known && old.agent == p.agent && old.ja4 == p.ja4 {
		return old.fingerprint
	}
	st.buf = append(st.buf[:0], "fingerprint\x00"...)
	st.buf = append(append(st.buf, p.ja4...), 0)
	if p.known {
		st.buf = appendWord(st.buf, p.core)
	}
	st.buf = append(append(st.buf, 0), p.agent...)
	p.fingerprint = r.key.sum(st)
	p.ja4, p.agent = strings.Clone(p.ja4), strings.Clone(p.agent) // not the line that they stand in
	*old = p
	return p.fingerprint
}

// template is the pseudonym of the request's form: header order without what
// comes and goes, absent headers, parameter names.
func (r *request) template(st *macState) event.Hash {
	p := templateKey{shape: r.shape.hash, absent: r.heads.absent & 1, known: r.x.HeadersKnown}
	if p.known {
		p.stable, p.absent = r.heads.stable, r.heads.absent
	}
	old := &st.templates[mix(p.stable^bits.RotateLeft64(p.shape, 32))%uint64(len(st.templates))]
	p.template = old.template
	if p.template != 0 && *old == p {
		return p.template
	}
	st.buf = append(st.buf[:0], "request_template\x00"...)
	if p.known {
		st.buf = appendWord(st.buf, p.stable)
	}
	st.buf = appendWord(append(st.buf, p.absent), p.shape)
	p.template = r.key.sum(st)
	*old = p
	return p.template
}

// network fills the address, its network (/24, /48) and its AS, and returns what
// is known of the address; nil without one.
func network(ev *event.Event, k *macKey, st *macState) (known *addressKeys) {
	if !ev.Client.IsValid() {
		return nil
	}
	low := ev.Client.As16()
	known = &st.addresses[(low[15]^low[14]<<1^low[13]<<2^low[7])&byte(len(st.addresses)-1)]
	if known.of != ev.Client {
		*known = addressKeys{of: ev.Client}
		st.buf = ev.Client.AppendTo(append(st.buf[:0], "client\x00"...))
		known.client = k.sum(st)
		length := 24
		if ev.Client.Is6() {
			length = 48
		}
		if prefix, err := ev.Client.Prefix(length); err == nil {
			st.buf = prefix.AppendTo(append(st.buf[:0], "client_net\x00"...))
			known.net = k.sum(st)
		}
	}
	ev.Keys[event.KindClient], ev.Keys[event.KindClientNet] = known.client, known.net
	if ev.ASN != 0 {
		st.buf = appendDecimal(append(st.buf[:0], "asn\x00"...), ev.ASN)
		ev.Keys[event.KindASN] = k.sum(st)
	}
	return known
}
