# The targets are fixed in README.md and docs/; `make run` and `make test` are all a newcomer needs.
.PHONY: build test check run deps

build:
	CGO_ENABLED=0 go build ./...

test:
	go test ./...
