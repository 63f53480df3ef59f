package clickhouse

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// plain turns what the driver returns into few types, at any depth: numbers,
// strings, bools, time.Time, json.Number for decimals, netip.Addr (IPv4 not
// mapped), nil for NULL, []any and map[string]any. All of them print and marshal
// as people expect.
func plain(v any) any {
	switch x := v.(type) {
	case nil, string, bool, time.Time, json.Number, netip.Addr,
		int8, int16, int32, int64, uint8, uint16, uint32, uint64, int:
		return x
	case float32:
		return plainFloat(float64(x))
	case float64:
		return plainFloat(x)
	case net.IP:
		if a, ok := netip.AddrFromSlice(x); ok {
			return a.Unmap()
		}
		return nil
	}
	if d, ok := v.(interface {
		fmt.Stringer
		Exponent() int32
	}); ok { // the driver's decimal, named by what it can do
		return json.Number(d.String())
	}
	r := reflect.ValueOf(v)
	if m, ok := v.(encoding.TextMarshaler); ok && (r.Kind() != reflect.Pointer || !r.IsNil()) { // UUID, big.Int
		if text, err := m.MarshalText(); err == nil {
			return string(text)
		}
	}
	switch r.Kind() { //nolint:exhaustive // the rest is printed below
	case reflect.Pointer:
		if r.IsNil() {
			return nil
		}
		return plain(r.Elem().Interface())
	case reflect.Slice, reflect.Array:
		items := make([]any, r.Len())
		for i := range items {
			items[i] = plain(r.Index(i).Interface())
		}
		return items
	case reflect.Map:
		fields := make(map[string]any, r.Len())
		for _, key := range r.MapKeys() {
			fields[Text(plain(key.Interface()))] = plain(r.MapIndex(key).Interface())
		}
		return fields
	}
	return fmt.Sprint(v)
}

// plainFloat keeps what JSON can hold.
func plainFloat(f float64) any {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	return f
}

// Text prints a value of Rows.Values as one cell of a table: times in UTC with
// the digits they have, lists in brackets, maps in braces sorted by key, NULL
// as nothing. It is for people; use JSON for programs.
func Text(v any) string {
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		return x
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64)
	case time.Time:
		return x.UTC().Format("2006-01-02 15:04:05.999999999")
	case []any:
		items := make([]string, len(x))
		for i, item := range x {
			items[i] = Text(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	case map[string]any:
		items := make([]string, 0, len(x))
		for key, item := range x {
			items = append(items, key+": "+Text(item))
		}
		slices.Sort(items)
		return "{" + strings.Join(items, ", ") + "}"
	}
	return fmt.Sprint(v)
}
