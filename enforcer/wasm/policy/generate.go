//go:build ignore

package main

import (
	"log"
	"os"

	"github.com/weirproject/weir/enforcer/wasm/policy"
)

func main() {
	if err := os.WriteFile("strongest.wasm", policy.EmitStrongest(), 0o644); err != nil {
		log.Fatal(err)
	}
}
