package bpf

// The object is committed, so that building weir needs no compiler for BPF.
// The flags make it byte-reproducible from any directory (clang 14).
//go:generate go tool bpf2go -target amd64 -cc clang-14 -strip llvm-strip-14 -go-package bpf capture capture.bpf.c -- -O2 -Wall -Werror -Wno-unused-function -ffile-prefix-map=$PWD=. -fdebug-compilation-dir=. -I.
