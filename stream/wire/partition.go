package wire

// Partition returns the partition of a site's records among n: the 64-bit
// FNV-1a hash of its name, modulo n. Every producer must agree on it, so it
// never changes; the number of partitions is fixed when a topic is created.
func Partition(site string, n int) int32 {
	if n <= 1 {
		return 0
	}
	h := uint64(14695981039346656037)
	for i := range len(site) {
		h = (h ^ uint64(site[i])) * 1099511628211
	}
	return int32(h % uint64(n))
}
