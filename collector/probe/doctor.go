package probe

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// Finding is one thing this machine can or cannot do.
type Finding struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	// Remedy is what to do when it is not OK.
	Remedy string `json:"remedy,omitempty"`
}

// Diagnose checks each thing that kernel capture needs, without attaching.
func Diagnose() []Finding {
	var out []Finding
	var uts unix.Utsname
	release := "unknown"
	if unix.Uname(&uts) == nil {
		release = unix.ByteSliceToString(uts.Release[:])
	}
	out = append(out, Finding{Name: "kernel", OK: true, Detail: release})
	_, err := os.Stat("/sys/kernel/btf/vmlinux")
	out = append(out, finding("BTF", err, "/sys/kernel/btf/vmlinux", "use a kernel built with CONFIG_DEBUG_INFO_BTF=y"))
	out = append(out, capabilities())
	out = append(out,
		finding("ring buffer", features.HaveMapType(ebpf.RingBuf), "BPF_MAP_TYPE_RINGBUF", "Linux 5.8 or later"),
		finding("socket storage", features.HaveMapType(ebpf.SkStorage), "BPF_MAP_TYPE_SK_STORAGE", "Linux 5.11 or later"),
	)
	p, err := Open(Config{RingBytes: 1 << 16, Ports: []uint16{1}})
	if err == nil {
		err = p.Close()
	}
	return append(out, finding("attach", err, "sock_recv_length, sock_send_length, inet_sock_set_state", "Linux 6.3 or later with the rights above; weir runs without, from the ingress and access logs"))
}

func finding(name string, err error, detail, remedy string) Finding {
	if err == nil {
		return Finding{Name: name, OK: true, Detail: detail}
	}
	text := err.Error()
	if errors.Is(err, ebpf.ErrNotSupported) {
		text = "this kernel lacks it"
	}
	if i := strings.IndexByte(text, '\n'); i > 0 {
		text = text[:i]
	}
	return Finding{Name: name, Detail: text, Remedy: remedy}
}

func capabilities() Finding {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return finding("capabilities", err, "", "run as root")
	}
	has := func(c uint) bool { return data[c/32].Effective&(1<<(c%32)) != 0 }
	bpfOK := has(unix.CAP_SYS_ADMIN) || has(unix.CAP_BPF) && has(unix.CAP_PERFMON)
	detail := fmt.Sprintf("CAP_BPF %t, CAP_PERFMON %t, CAP_SYS_ADMIN %t", has(unix.CAP_BPF), has(unix.CAP_PERFMON), has(unix.CAP_SYS_ADMIN))
	if bpfOK {
		return Finding{Name: "capabilities", OK: true, Detail: detail}
	}
	return Finding{Name: "capabilities", Detail: detail, Remedy: "setcap cap_bpf,cap_perfmon+ep on the collector's binary, or run it as root"}
}
