/* SPDX-License-Identifier: Apache-2.0 */
/* The records on the ring buffer. record.go holds the same layout in Go; a test
 * compares both through the object's BTF. */
#pragma once

enum direction { DIR_IN = 0, DIR_OUT = 1 };
enum protocol { PROTO_UNKNOWN = 0, PROTO_HTTP1 = 1, PROTO_HTTP2 = 2, PROTO_TLS = 3, PROTO_IGNORE = 4 };
enum role { ROLE_SERVER = 1, ROLE_CLIENT = 2 };
enum kind { KIND_DATA = 1, KIND_OPEN = 2, KIND_CLOSE = 3 };
enum flag {
	FLAG_NEWTURN = 1, /* first record of this side since the other side spoke */
	FLAG_NODATA = 2,  /* the transfer is known, its bytes are not (io_uring, sendfile) */
	FLAG_FAULT = 4,   /* the user page was not resident */
	FLAG_LOST = 8,    /* records of this connection were dropped before this one */
	FLAG_SHED = 16,   /* the budget was cut because the ring filled */
};

/* record is the header of every record, 64 bytes, little endian. */
struct record {
	u8 kind, dir, flags, proto;
	u8 role, tail_len;
	u16 syscall;   /* 0xffff: none */
	u64 ts;        /* bpf_ktime_get_ns: CLOCK_MONOTONIC */
	u64 conn;      /* socket cookie */
	u64 pos;       /* offset of the first byte in this direction's stream */
	u32 len;       /* bytes the operation moved (of this segment) */
	u32 captured;  /* bytes that follow the header, <= len */
	u32 tgid, tid;
	u32 lost;      /* records of this connection dropped so far */
	u32 pad;
	u8 tail[8];    /* the last tail_len bytes of a segment that is cut */
};

/* record_open follows the first recognised bytes of a connection. */
struct record_open {
	struct record h;
	u64 cgroup;
	u64 start;     /* boot-time nanoseconds of the process start */
	u8 local_addr[16], remote_addr[16];
	u16 local_port, remote_port, family, pad;
	char comm[16];
};
