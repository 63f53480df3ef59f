package clickhouse

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	ch "github.com/ClickHouse/clickhouse-go/v2"
)

// ErrNotFound means that no row has the id asked for.
var ErrNotFound = errors.New("not found")

// Error is a refusal by the server.
type Error struct {
	// Code is ClickHouse's error code, 0 when the answer carried none; Status is
	// the HTTP status, 0 for the native protocol.
	Code    int
	Status  int
	Message string
}

func (e *Error) Error() string {
	if e.Code == 0 {
		return fmt.Sprintf("clickhouse: HTTP status %d: %s", e.Status, e.Message)
	}
	return "clickhouse: " + e.Message
}

// poisonCodes are the errors that lie in the data: the same bytes will be
// refused again. Everything else may pass by itself or by an operator's hand
// (memory, disk, too many parts, a missing table, a wrong password), and events
// wait for that rather than being lost.
var poisonCodes = map[int]string{
	6: "CANNOT_PARSE_TEXT", 25: "CANNOT_PARSE_ESCAPE_SEQUENCE", 26: "CANNOT_PARSE_QUOTED_STRING", 27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
	33: "CANNOT_READ_ALL_DATA", 38: "CANNOT_PARSE_DATE", 41: "CANNOT_PARSE_DATETIME", 53: "TYPE_MISMATCH", 70: "CANNOT_CONVERT_TYPE",
	72: "CANNOT_PARSE_NUMBER", 117: "INCORRECT_DATA", 130: "CANNOT_READ_ARRAY_FROM_TEXT", 131: "TOO_LARGE_STRING_SIZE",
	349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN", 407: "DECIMAL_OVERFLOW", 675: "CANNOT_PARSE_IPV4", 676: "CANNOT_PARSE_IPV6",
}

// Poison reports whether the data itself was refused, so that a retry cannot
// help and the batch must be set aside and counted.
func Poison(err error) bool {
	_, poison := poisonCodes[Code(err)]
	// Code 252 is also "too many parts", which passes by itself.
	return poison || Code(err) == 252 && strings.Contains(err.Error(), "Too many partitions for single INSERT block")
}

// Code returns the server's error code, or 0 when the error is not its own.
func Code(err error) int {
	if own, ok := errors.AsType[*Error](err); ok {
		return own.Code
	}
	if native, ok := errors.AsType[*ch.Exception](err); ok {
		return int(native.Code)
	}
	return 0
}

// parseError makes an Error from an HTTP answer. The text begins with
// "Code: 27. DB::Exception: ..." whatever the status.
func parseError(status int, header, body string) *Error {
	e := &Error{Status: status, Message: strings.TrimSpace(body)}
	e.Code, _ = strconv.Atoi(header)
	if rest, ok := strings.CutPrefix(e.Message, "Code: "); ok && e.Code == 0 {
		number, _, _ := strings.Cut(rest, ".")
		e.Code, _ = strconv.Atoi(number)
	}
	return e
}
