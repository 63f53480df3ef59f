//go:build !race

package stream

// slow is how much slower everything is under the race detector.
const slow = 1
