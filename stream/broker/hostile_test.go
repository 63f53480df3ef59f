package broker

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// frame makes a request with a header and any body.
func frame(key, version int16, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(10+len(body)))
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, 7)
	return append(binary.BigEndian.AppendUint16(b, 0xffff), body...)
}

// attack sends bytes and closes in one of three ways.
func attack(t *testing.T, addr string, how int, packet []byte) {
	t.Helper()
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatalf("the broker takes no connections: %v", err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(8 * time.Millisecond))
	_, _ = c.Write(packet)
	switch how % 3 {
	case 0:
		_, _ = io.ReadFull(c, make([]byte, 4))
	case 1:
		_ = c.(*net.TCPConn).SetLinger(0) // RST
	default:
		_ = c.(*net.TCPConn).CloseWrite()
	}
}

func TestHostileClientsCrashNothing(t *testing.T) {
	p := launch(t, childConfig{Dir: t.TempDir()})
	cl := p.client(t)
	ensure(t, cl, TopicsConfig{})
	hello := frame(keySASLHandshake, 1, append([]byte{0, 13}, "SCRAM-SHA-256"...))
	r := rand.New(rand.NewPCG(1, 1))
	garbage := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	packets := [][]byte{
		nil,
		frame(200, 0, nil), // unknown key: 14 bytes that end an unguarded kfake
		frame(-1, 0, nil),
		{0xff, 0xff, 0xff, 0xff},
		{0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0},
		{0xff, 0xff, 0xff, 0xff, 0, 18, 0, 0},
		{0, 0, 0, 0},
		{0, 0, 0, 1, 0},
		{0, 0, 0, 9, 0, 18, 0, 0, 0, 0, 0, 0, 0},
		frame(keyAPIVersions, 32767, nil), frame(keyAPIVersions, -1, nil), frame(keyAPIVersions, 4, garbage(40)),
		frame(0, 9, garbage(100)), frame(3, 12, nil), frame(keyDeleteRecords, 2, nil),
		frame(keyAPIVersions, 0, nil)[:9],
		append(binary.BigEndian.AppendUint32(nil, 1<<25), frame(keySASLAuthenticate, 0, nil)[4:]...),
		append(hello, frame(keySASLAuthenticate, 2, garbage(60))...),
		append(append(hello, frame(keySASLAuthenticate, 0, nil)...), frame(keySASLAuthenticate, 0, []byte{0x7f, 0xff, 0xff, 0xff})...),
		[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
		garbage(3), garbage(64), garbage(70_000),
	}
	for i, packet := range packets {
		for how := range 3 {
			attack(t, p.addr, how, packet)
		}
		if !p.alive() {
			t.Fatalf("packet %d killed the broker\n%s", i, p.stderr)
		}
	}
	// Behind the login: every request kind in three versions, whole and mutated.
	sent := mutated(r, func(packet []byte) {
		c := login(t, p)
		_ = c.SetDeadline(time.Now().Add(8 * time.Millisecond))
		_, _ = c.Write(packet)
		_, _ = io.ReadFull(c, make([]byte, 4))
		_ = c.Close()
	})
	if !p.alive() || sent < 300 {
		t.Fatalf("after %d mutated requests: alive %v\n%s", sent, p.alive(), p.stderr)
	}
	produce(t, cl, 0, 10, 10)
	if recs := consume(t, p, 0, 10); len(recs) != 10 {
		t.Errorf("an honest client reads %d records", len(recs))
	}
	if s := p.stderr.String(); strings.Contains(s, "panic") {
		t.Error(s)
	}
}

// login returns a connection that has logged in by hand.
func login(t *testing.T, p *proc) net.Conn {
	t.Helper()
	creds, err := ReadCredentials(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), "tcp", p.addr)
	if err != nil {
		t.Fatalf("the broker takes no connections: %v", err)
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	ask := func(key, version int16, body []byte) []byte {
		size := make([]byte, 4)
		_, err1 := c.Write(frame(key, version, body))
		_, err2 := io.ReadFull(c, size)
		answer := make([]byte, binary.BigEndian.Uint32(size))
		_, err3 := io.ReadFull(c, answer)
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatalf("login: %v", err)
		}
		return answer[4:] // after the correlation id
	}
	ask(keySASLHandshake, 1, append([]byte{0, 13}, "SCRAM-SHA-256"...))
	session, message, err := scram.Auth{User: creds.User, Pass: creds.Password}.AsSha256Mechanism().Authenticate(t.Context(), "")
	for done := false; err == nil && !done; {
		answer := ask(keySASLAuthenticate, 0, append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...))
		resp := kmsg.NewPtrSASLAuthenticateResponse()
		if err = resp.ReadFrom(answer); err == nil {
			done, message, err = session.Challenge(resp.SASLAuthBytes)
		}
	}
	if err != nil {
		t.Fatalf("login: %v", err)
	}
	return c
}

func mutated(r *rand.Rand, send func([]byte)) (sent int) {
	for key := range int16(100) {
		rq := kmsg.RequestForKey(key)
		if rq == nil {
			continue
		}
		for _, v := range []int16{0, rq.MaxVersion() / 2, rq.MaxVersion()} {
			q := kmsg.RequestForKey(key)
			q.SetVersion(v)
			body := q.AppendTo(nil)
			if q.IsFlexible() {
				body = append([]byte{0}, body...)
			}
			send(frame(key, v, body))
			for j := range body {
				if r.IntN(3) == 0 {
					body[j] = byte(r.Uint32())
				}
			}
			send(frame(key, v, body))
			sent += 2
		}
	}
	return sent
}

// pipeGuard is a guarded connection over a pipe and its other end.
func pipeGuard(t *testing.T) (guarded net.Conn, peer net.Conn, reasons chan string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	reasons = make(chan string, 10)
	g := newGuard(l, 2, func(reason string) { reasons <- reason })
	t.Cleanup(func() { _ = g.Close() })
	peer, err = (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = peer.Close() })
	guarded, err = g.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = guarded.Close() })
	return guarded, peer, reasons
}

func TestGuardNamesItsReason(t *testing.T) {
	auth := frame(keySASLAuthenticate, 0, nil)
	in := append(slices.Clip(auth), auth...)
	for _, c := range []struct {
		name   string
		packet []byte
		want   string
	}{
		{"unknown key", frame(200, 0, nil), rejectKey},
		{"huge frame", []byte{0x7f, 0xff, 0xff, 0xff, 0, 18, 0, 0}, rejectSize},
		{"huge login frame", append(binary.BigEndian.AppendUint32(nil, maxLoginFrameBytes+1), frame(keyAPIVersions, 0, nil)[4:]...), rejectSize},
		{"tiny frame", []byte{0, 0, 0, 4, 0, 18, 0, 0}, rejectSize},
		{"negative version", frame(keyAPIVersions, -1, nil), rejectVersion},
		{"future version", append(in, frame(0, 999, nil)...), rejectVersion},
		{"before login", frame(3, 0, nil), rejectLogin},
		{"after half a login", append(slices.Clip(auth), frame(3, 0, nil)...), rejectLogin},
		{"emptying a partition", append(in, frame(keyDeleteRecords, 0, nil)...), rejectForbidden},
	} {
		conn, peer, reasons := pipeGuard(t)
		if _, err := peer.Write(c.packet); err != nil {
			t.Fatal(err)
		}
		_, err := io.Copy(io.Discard, conn)
		if got := <-reasons; got != c.want || err != nil {
			t.Errorf("%s: %s, %v; want %s", c.name, got, err, c.want)
		}
	}
}

func TestGuardPassesHonestFramesUnchanged(t *testing.T) {
	conn, peer, _ := pipeGuard(t)
	var all []byte
	for _, f := range [][]byte{
		frame(keyAPIVersions, 4, []byte{0}), frame(keySASLHandshake, 1, []byte("x")), frame(keySASLAuthenticate, 1, nil),
		frame(keySASLAuthenticate, 1, []byte("y")), frame(0, 9, make([]byte, 300_000)), frame(1, 13, []byte("z")),
	} {
		all = append(all, f...)
	}
	go func() {
		_, _ = peer.Write(all)
		_ = peer.Close()
	}()
	got, err := io.ReadAll(conn)
	if err != nil || string(got) != string(all) {
		t.Errorf("%d of %d bytes, %v", len(got), len(all), err)
	}
}

func TestRefusalsKeepTheOrderOfResponses(t *testing.T) {
	conn, peer, _ := pipeGuard(t)
	c := conn.(*guardedConn)
	full := make(chan bool, 1)
	c.guard.full = func() bool { return <-full }
	auth := frame(keySASLAuthenticate, 1, nil)
	metadata := frame(3, 0, nil)
	produce := kmsg.NewPtrProduceRequest()
	produce.SetVersion(9)
	produce.Acks = -1
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = "t"
	topic.Partitions = append(topic.Partitions, kmsg.NewProduceRequestTopicPartition())
	produce.Topics = append(produce.Topics, topic)
	refused := frame(keyProduce, 9, produce.AppendTo([]byte{0}))
	var in []byte
	for _, f := range [][]byte{auth, auth, metadata, refused, metadata} {
		in = append(in, f...)
	}
	if _, err := peer.Write(in); err != nil {
		t.Fatal(err)
	}
	full <- true
	// The broker takes the frames one after another and answers late.
	reads := make(chan string, 8)
	go func() {
		for {
			b := make([]byte, 4096)
			n, err := conn.Read(b)
			if err != nil {
				close(reads)
				return
			}
			reads <- string(b[:n])
		}
	}()
	for _, want := range [][]byte{auth, auth, metadata} {
		if got := <-reads; got != string(want) {
			t.Fatalf("the broker read %q", got)
		}
	}
	for _, response := range []string{"\x00\x00\x00\x04aaaa", "\x00\x00\x00\x04bbbb", "\x00\x00\x00\x04cccc"} {
		if _, err := conn.Write([]byte(response)); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-reads; got != string(metadata) {
		t.Fatalf("after the refusal the broker read %q", got)
	}
	answers := make([]byte, 24+4)
	if _, err := io.ReadFull(peer, answers); err != nil {
		t.Fatal(err)
	}
	rest := make([]byte, binary.BigEndian.Uint32(answers[24:]))
	if _, err := io.ReadFull(peer, rest); err != nil {
		t.Fatal(err)
	}
	if string(answers[4:8])+string(answers[12:16])+string(answers[20:24]) != "aaaabbbbcccc" {
		t.Errorf("responses %q", answers)
	}
	resp := kmsg.NewPtrProduceResponse()
	resp.SetVersion(9)
	if err := resp.ReadFrom(rest[5:]); err != nil || binary.BigEndian.Uint32(rest) != 7 ||
		resp.Topics[0].Partitions[0].ErrorCode != kerr.KafkaStorageError.Code {
		t.Errorf("%v: %+v", err, resp)
	}
}

func TestGuardBoundsItsConnections(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	reasons := make(chan string, 10)
	g := newGuard(l, 1, func(reason string) { reasons <- reason })
	dial := func() net.Conn {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	accepted := make(chan net.Conn, 3)
	go func() {
		for {
			c, err := g.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- c
		}
	}()
	dial()
	first := <-accepted
	second := dial()
	if got := <-reasons; got != rejectConnections {
		t.Errorf("%s", got)
	}
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Error("the second connection stayed open")
	}
	_ = first.Close()
	_ = first.Close() // kfake closes twice; the slot is freed once
	dial()
	third := <-accepted
	_ = third.Close()
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if _, open := <-accepted; open || len(g.slots) != 0 {
		t.Errorf("%d slots are taken at the end", len(g.slots))
	}
}

func FuzzGuard(f *testing.F) {
	f.Add(frame(keyAPIVersions, 4, []byte{0}))
	f.Add(frame(200, 0, nil))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		server, client := net.Pipe()
		g := newGuard(nil, 1, func(string) {})
		g.slots <- struct{}{}
		c := newGuardedConn(server, g)
		go func() { _, _ = io.Copy(io.Discard, client) }()
		go func() {
			_, _ = client.Write(b)
			_ = client.Close()
		}()
		got, err := io.ReadAll(c)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(b), string(got)) {
			t.Fatal("the guard changed the bytes")
		}
		// Whatever passed is a sequence of frames that kfake can parse.
		for len(got) >= 8 {
			size := int(binary.BigEndian.Uint32(got))
			if key := int16(binary.BigEndian.Uint16(got[4:])); kmsg.RequestForKey(key) == nil || size > maxFrameBytes {
				t.Fatalf("key %d of %d bytes passed", key, size)
			}
			got = got[min(len(got), size+4):]
		}
	})
}
