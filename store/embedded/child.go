package embedded

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/ebitengine/purego"
)

// ChildMain is what the child process runs: it loads the library args[0] and
// hands the rest, ClickHouse's own arguments, to it. It returns only when the
// engine has ended: nil after a clean stop. The process must do nothing else,
// because the engine takes over its terminal and its working directory.
func ChildMain(args []string) error {
	if len(args) == 0 {
		return errors.New("embedded engine: no library named")
	}
	runtime.LockOSThread()
	lib, err := purego.Dlopen(args[0], purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return fmt.Errorf("load the engine library: %w: it needs glibc 2.17 or later on linux/amd64", err)
	}
	var setSignalHandlers func(int32)
	var queryCommandLine func(int32, **byte) uintptr
	for name, f := range map[string]any{
		"chdb_set_signal_handlers_enabled": &setSignalHandlers,
		"chdb_query_cmdline":               &queryCommandLine,
	} {
		if _, err := purego.Dlsym(lib, name); err != nil {
			return fmt.Errorf("the library %s is not the chdb that weir needs: %w", args[0], err)
		}
		purego.RegisterLibFunc(f, lib, name)
	}
	// The Go runtime owns the signals; the library's handlers would replace it.
	setSignalHandlers(0)
	argv := make([]*byte, 0, len(args)+1)
	for _, arg := range append([]string{"clickhouse"}, args[1:]...) {
		argv = append(argv, &append([]byte(arg), 0)[0])
	}
	argv = append(argv, nil)
	// The result belongs to the library and dies with the process.
	queryCommandLine(int32(len(args)), &argv[0])
	runtime.KeepAlive(argv)
	return nil
}
