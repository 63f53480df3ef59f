//go:build !linux

package sketch

func advise([]byte) {}
