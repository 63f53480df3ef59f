//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* Plain HTTP capture by three tp_btf programs and no syscall tracing at all:
 * sock_recv_length and sock_send_length fire after the transfer with the socket
 * and the length; the user's buffer comes from the registers the task entered
 * the kernel with. The programs only observe: they cannot slow a syscall of a
 * process without sockets, and they end with the process that loaded them. */
#include "vmlinux_min.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include "record.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define MSG_PEEK 2
#define MAX_SEGMENT 16384 /* bytes one record can carry */
#define MAX_SEGMENTS 64   /* vectors walked per call; the rest counts as cut */
#define MAX_TRIES 8       /* turns that are no HTTP before a socket is ignored */
#define PF_KTHREAD 0x00200000
#define PF_IO_WORKER 0x00000010

/* Set before loading. */
const volatile u32 budget = 4096;         /* captured bytes per message and direction */
const volatile u32 self_tgid = 0;         /* never watch the collector itself */
const volatile u32 all_ports = 1;         /* 0: only local ports in `ports` */
const volatile u64 ring_bytes = 1 << 24;
const volatile u64 wake_bytes = 1 << 20;  /* below: the reader's own poll finds it */

struct conn {
	u64 cookie;
	u64 pos[2];
	u32 left[2]; /* what remains of the budget of the message in each direction */
	u32 lost;
	u32 tgid;
	u8 proto, role, turn, tries;
	u32 pad;
};

/* counters: see Counters in record.go. */
struct counters {
	u64 calls, records, dropped, bytes, captured, faults, shed, no_data, tls_conns, ignored, http_conns, vectors_cut;
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 24); } ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct counters); } stats SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 256); __type(key, u16); __type(value, u8); } ports SEC(".maps");
/* conns dies with the socket: it cannot leak, be evicted or be confused by the
 * reuse of a descriptor. */
struct { __uint(type, BPF_MAP_TYPE_SK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, int); __type(value, struct conn); } conns SEC(".maps");
/* One scratch slot per program: the kernel's recursion guard protects one
 * program per CPU, not two that share a buffer. */
struct scratch { struct record h; u8 data[MAX_SEGMENT]; };
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 3); __type(key, u32); __type(value, struct scratch); } scratches SEC(".maps");

/* clang 14 checks a bound on a shifted copy; the verifier wants it on this very
 * register. */
#define CLAMP(v, max) asm volatile("if %0 <= %1 goto +1\n\t%0 = %1" : "+r"(v) : "i"(max))

static __always_inline struct counters *count(void)
{
	u32 zero = 0;
	return bpf_map_lookup_elem(&stats, &zero);
}

/* w holds the first eight bytes, little endian. Scalars only: on byte pointers
 * clang 14 merges the comparisons into arithmetic on the pointer, which the
 * verifier refuses. */
static __always_inline int is_request(u64 w)
{
	return (w & 0xffffffffULL) == 0x20544547ULL ||              /* "GET " */
	       (w & 0xffffffffffULL) == 0x2054534f50ULL ||          /* "POST " */
	       (w & 0xffffffffULL) == 0x20545550ULL ||              /* "PUT " */
	       (w & 0xffffffffffULL) == 0x2044414548ULL ||          /* "HEAD " */
	       (w & 0xffffffffffffULL) == 0x204843544150ULL ||      /* "PATCH " */
	       (w & 0xffffffffffffffULL) == 0x204554454c4544ULL ||  /* "DELETE " */
	       w == 0x20534e4f4954504fULL ||                        /* "OPTIONS " */
	       w == 0x205443454e4e4f43ULL ||                        /* "CONNECT " */
	       (w & 0xffffffffffffULL) == 0x204543415254ULL;        /* "TRACE " */
}
static __always_inline int is_response(u64 w) { return (w & 0xffffffffffffffULL) == 0x2e312f50545448ULL; } /* "HTTP/1." */
static __always_inline int is_http2(u64 w) { return w == 0x5448202a20495250ULL; }                          /* "PRI * HT" */
static __always_inline int is_tls(u64 w) { return (w & 0xff) >= 0x14 && (w & 0xff) <= 0x17 && (w >> 8 & 0xff) == 3 && (w >> 16 & 0xff) <= 4; }

/* emit writes one record. A global function, so that the verifier checks it
 * once instead of at every call. */
__attribute__((noinline)) int emit(struct record *h, u64 from, u64 n, u32 slot)
{
	struct counters *c = count();
	struct scratch *s;

	if (!c || !h)
		return -1;
	s = bpf_map_lookup_elem(&scratches, &slot);
	if (!s)
		return -1;
	h->captured = n;
	__builtin_memcpy(&s->h, h, sizeof(*h));
	CLAMP(n, MAX_SEGMENT);
	if (n && bpf_probe_read_user(s->data, n, (void *)from)) {
		s->h.flags |= FLAG_FAULT;
		s->h.captured = 0;
		n = 0;
		c->faults++;
	}
	CLAMP(n, MAX_SEGMENT);
	u64 wake = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) >= wake_bytes ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
	if (bpf_ringbuf_output(&ring, s, sizeof(struct record) + n, wake)) {
		c->dropped++;
		return -1;
	}
	c->records++;
	c->captured += n;
	return 0;
}

/* budget_now is the budget of a new message: bodies go first when the ring
 * fills, request lines last. */
static __always_inline u32 budget_now(struct counters *c, u8 *flags)
{
	u64 used = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);
	u32 limit = used > ring_bytes / 10 * 8 ? 256 : used > ring_bytes / 2 ? 1024 : budget;

	if (limit >= budget)
		return budget;
	*flags |= FLAG_SHED;
	c->shed++;
	return limit;
}

/* source is where the user's bytes are. */
struct source {
	u64 ptr;
	u32 vectors;
	u8 is_vector, known;
	u16 syscall;
};

static __always_inline void find_source(struct source *o)
{
	struct task_struct *t = bpf_get_current_task_btf();

	o->known = 0;
	o->is_vector = 0;
	o->vectors = 0;
	o->ptr = 0;
	o->syscall = 0xffff;
	if (t->flags & (PF_KTHREAD | PF_IO_WORKER))
		return;
	struct pt_regs *r = (struct pt_regs *)bpf_task_pt_regs(t);
	long nr = r->orig_ax;
	o->syscall = nr;
	switch (nr) {
	case 0: case 1: case 44: case 45: /* read, write, sendto, recvfrom */
		o->ptr = r->si;
		o->known = 1;
		return;
	case 19: case 20: case 327: case 328: /* readv, writev, preadv2, pwritev2 */
		o->ptr = r->si;
		o->vectors = r->dx;
		o->is_vector = 1;
		o->known = 1;
		return;
	case 46: case 47: { /* sendmsg, recvmsg */
		struct user_msghdr m;
		if (bpf_probe_read_user(&m, sizeof(m), (void *)r->si))
			return;
		o->ptr = (u64)m.msg_iov;
		o->vectors = m.msg_iovlen;
		o->is_vector = 1;
		o->known = 1;
		return;
	}
	}
}

static __always_inline int first_bytes(struct source *o, u64 *w)
{
	u64 p = o->ptr;

	if (o->is_vector) {
		struct iovec v;
		if (bpf_probe_read_user(&v, sizeof(v), (void *)p))
			return -1;
		p = (u64)v.iov_base;
	}
	return bpf_probe_read_user(w, 8, (void *)p);
}

static __always_inline void announce(struct sock *sk, struct conn *c)
{
	struct record_open *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
	struct counters *n = count();

	if (!e) {
		if (n)
			n->dropped++;
		c->lost++;
		return;
	}
	__builtin_memset(e, 0, sizeof(*e));
	u64 id = bpf_get_current_pid_tgid();
	struct task_struct *t = bpf_get_current_task_btf();
	e->h.kind = KIND_OPEN;
	e->h.ts = bpf_ktime_get_ns();
	e->h.conn = c->cookie;
	e->h.proto = c->proto;
	e->h.role = c->role;
	e->h.tgid = id >> 32;
	e->h.tid = id;
	e->start = t->group_leader->start_boottime;
	e->cgroup = bpf_get_current_cgroup_id();
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	e->family = sk->__sk_common.skc_family;
	e->local_port = sk->__sk_common.skc_num;
	e->remote_port = bpf_ntohs(sk->__sk_common.skc_dport);
	if (e->family == AF_INET) {
		*(u32 *)e->local_addr = sk->__sk_common.skc_rcv_saddr;
		*(u32 *)e->remote_addr = sk->__sk_common.skc_daddr;
	} else {
		BPF_CORE_READ_INTO(&e->local_addr, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&e->remote_addr, sk, __sk_common.skc_v6_daddr);
	}
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	if (n)
		n->records++;
}

/* keep_tail saves the last bytes of a segment that is cut: a chunked body then
 * ends exactly ("0\r\n\r\n") though its bytes were not copied. */
static __always_inline void keep_tail(struct record *h, u64 p, u32 segment, u32 captured)
{
	h->tail_len = 0;
	if (captured >= segment)
		return;
	if (segment >= 8) {
		if (!bpf_probe_read_user(h->tail, 8, (void *)(p + segment - 8)))
			h->tail_len = 8;
	} else if (segment >= 5) {
		if (!bpf_probe_read_user(h->tail, 5, (void *)(p + segment - 5)))
			h->tail_len = 5;
	}
}

struct work {
	struct record h;
	u64 ptr;
	u32 vectors, left, rest, drops;
	u8 is_vector;
};

static __noinline long segment(u32 i, struct work *w)
{
	u64 base = w->ptr;
	u32 size = w->rest;

	if (w->is_vector) {
		struct iovec v;
		if (bpf_probe_read_user(&v, sizeof(v), (void *)(w->ptr + (u64)i * sizeof(v))))
			return 1;
		base = (u64)v.iov_base;
		if (v.iov_len < size)
			size = v.iov_len;
		if (!size)
			return 0;
	}
	u32 n = size < w->left ? size : w->left;
	if (n > MAX_SEGMENT)
		n = MAX_SEGMENT;
	/* The last vector walked carries the length of those that are not. */
	w->h.len = i + 1 >= w->vectors ? w->rest : size;
	keep_tail(&w->h, base, size, n);
	if (emit(&w->h, base, n, w->h.dir))
		w->drops++;
	w->h.pos += size;
	w->rest -= size;
	w->left -= n;
	w->h.flags &= ~FLAG_NEWTURN;
	return w->rest == 0;
}

/* recognise looks at the first bytes of a turn on a socket not known yet. */
static __always_inline void recognise(struct sock *sk, struct conn *c, struct source *o, u8 dir, struct counters *n)
{
	u64 w = 0;

	if (!first_bytes(o, &w)) {
		if (is_request(w)) {
			c->proto = PROTO_HTTP1;
			c->role = dir == DIR_IN ? ROLE_SERVER : ROLE_CLIENT;
		} else if (is_response(w)) {
			c->proto = PROTO_HTTP1;
			c->role = dir == DIR_OUT ? ROLE_SERVER : ROLE_CLIENT;
		} else if (is_http2(w)) {
			c->proto = PROTO_HTTP2;
			c->role = dir == DIR_IN ? ROLE_SERVER : ROLE_CLIENT;
		} else if (is_tls(w)) {
			c->proto = PROTO_TLS;
			n->tls_conns++;
		}
	}
	/* HTTP/2 is recognised and counted; its frames are a later backend. */
	if (c->proto == PROTO_HTTP2 || (c->proto == PROTO_UNKNOWN && ++c->tries >= MAX_TRIES)) {
		c->proto = PROTO_IGNORE;
		n->ignored++;
	}
	if (c->proto == PROTO_HTTP1) {
		if (c->role != ROLE_SERVER) {
			c->proto = PROTO_IGNORE;
			return;
		}
		n->http_conns++;
		announce(sk, c);
		c->turn = 2;
	}
}

static __always_inline int observe(struct sock *sk, int ret, const u8 dir)
{
	u16 family = sk->__sk_common.skc_family;

	if (family != AF_INET && family != AF_INET6)
		return 0;
	if (sk->sk_protocol != IPPROTO_TCP && sk->sk_protocol != IPPROTO_MPTCP)
		return 0;
	struct counters *n = count();
	if (!n)
		return 0;
	struct conn *c = bpf_sk_storage_get(&conns, sk, 0, 0);
	if (c && c->proto >= PROTO_TLS)
		return 0; /* the cheap way out: encrypted or not ours */
	if (!c) {
		u16 port = sk->__sk_common.skc_num;
		if (!all_ports && !bpf_map_lookup_elem(&ports, &port))
			return 0;
	}
	u64 id = bpf_get_current_pid_tgid();
	if ((u32)(id >> 32) == self_tgid)
		return 0;
	n->calls++;
	n->bytes += ret;
	struct source o;
	find_source(&o);
	if (!c) {
		c = bpf_sk_storage_get(&conns, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (!c)
			return 0;
		c->cookie = bpf_get_socket_cookie(sk);
		c->turn = 2;
		c->tgid = id >> 32;
	}
	if (c->proto == PROTO_UNKNOWN && o.known && ret >= 5 && c->turn != dir)
		recognise(sk, c, &o, dir, n);
	u64 pos = c->pos[dir];
	c->pos[dir] = pos + ret;
	u8 new_turn = c->turn != dir;
	c->turn = dir;
	if (c->proto != PROTO_HTTP1)
		return 0;
	u8 flags = 0;
	if (new_turn) {
		c->left[dir] = budget_now(n, &flags);
		flags |= FLAG_NEWTURN;
	} else if (c->left[dir] == 0 && o.known && ret >= 8 && dir == DIR_IN) {
		u64 w = 0; /* a pipelined request starts a message without a turn */
		if (!first_bytes(&o, &w) && is_request(w))
			c->left[dir] = budget_now(n, &flags);
	}
	struct work w = {};
	w.h.kind = KIND_DATA;
	w.h.dir = dir;
	w.h.proto = c->proto;
	w.h.role = c->role;
	w.h.syscall = o.syscall;
	w.h.ts = bpf_ktime_get_ns();
	w.h.conn = c->cookie;
	w.h.tgid = id >> 32;
	w.h.tid = id;
	w.h.lost = c->lost;
	w.h.pos = pos;
	w.h.len = ret;
	if (!o.known) {
		flags |= FLAG_NODATA;
		n->no_data++;
	}
	if (c->lost)
		flags |= FLAG_LOST;
	w.h.flags = flags;
	if (!o.known || !c->left[dir]) {
		if (o.known && !o.is_vector)
			keep_tail(&w.h, o.ptr, ret, 0);
		c->lost = emit(&w.h, 0, 0, dir) ? c->lost + 1 : 0;
		return 0;
	}
	w.ptr = o.ptr;
	w.vectors = o.is_vector ? o.vectors : 1;
	w.is_vector = o.is_vector;
	w.left = c->left[dir];
	w.rest = ret;
	if (w.vectors > MAX_SEGMENTS)
		w.vectors = MAX_SEGMENTS;
	if (w.vectors == 1)
		segment(0, &w);
	else
		bpf_loop(w.vectors, segment, &w, 0);
	if (w.rest && w.vectors == MAX_SEGMENTS)
		n->vectors_cut++;
	c->left[dir] = w.left;
	c->lost = w.drops ? c->lost + w.drops : 0;
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(on_recv, struct sock *sk, int ret, int flags)
{
	if (ret <= 0 || (flags & MSG_PEEK))
		return 0;
	return observe(sk, ret, DIR_IN);
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(on_send, struct sock *sk, int ret, int flags)
{
	if (ret <= 0)
		return 0;
	return observe(sk, ret, DIR_OUT);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_state, struct sock *sk, int oldstate, int newstate)
{
	if (newstate != TCP_CLOSE)
		return 0;
	struct conn *c = bpf_sk_storage_get(&conns, sk, 0, 0);
	if (!c || c->proto != PROTO_HTTP1)
		return 0;
	struct record h = {};
	h.kind = KIND_CLOSE;
	h.ts = bpf_ktime_get_ns();
	h.conn = c->cookie;
	h.tgid = c->tgid;
	h.role = c->role;
	h.proto = c->proto;
	h.lost = c->lost;
	h.flags = c->lost ? FLAG_LOST : 0;
	emit(&h, 0, 0, 2);
	return 0;
}
