package main

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/weirproject/weir/cmd/config"
)

// span is a flag's duration, in every form that weir.yaml takes too: 30s, 4h, 7d.
type span time.Duration

// spanVar adds a flag for a duration; value is the default.
func spanVar(f *pflag.FlagSet, to *time.Duration, name string, value time.Duration, usage string) {
	*to = value
	f.Var((*span)(to), name, usage)
	if value == 0 {
		f.Lookup(name).DefValue = "0" // which the help leaves out
	}
}

// Set implements pflag.Value.
func (s *span) Set(text string) error {
	d, err := config.ParseDuration(text)
	if err != nil {
		return err
	}
	*s = span(d)
	return nil
}

// String implements pflag.Value.
func (s *span) String() string { return config.Duration(*s).String() }

// Type implements pflag.Value.
func (s *span) Type() string { return "duration" }
