package sketch

import "syscall"

// advise asks the kernel to back state by large pages. It may refuse, which costs
// speed only.
func advise(b []byte) { _ = syscall.Madvise(b, syscall.MADV_HUGEPAGE) }
