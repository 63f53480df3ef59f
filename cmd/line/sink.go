package line

import (
	"context"
	"errors"
)

// Sink runs the sink role.
func Sink(context.Context, Env) error { return errors.New("pending") }
