package baseline

import (
	"reflect"
	"slices"
	"unsafe"

	"github.com/weirproject/weir/stream/event"
)

// lend copies an event so that its strings lie in memory of their own, which spoil
// overwrites: as a processor's do, where the record they came with makes room for
// another once the event was observed.
func lend(ev *event.Event) (lent *event.Event, spoil func()) {
	var memory [][]byte
	own := func(v reflect.Value) {
		for _, f := range v.Fields() {
			if f.Kind() == reflect.String && f.Len() > 0 {
				b := []byte(f.String())
				memory = append(memory, b)
				f.SetString(unsafe.String(unsafe.SliceData(b), len(b))) //nolint:gosec // overwritten only when nobody may read it
			}
		}
	}
	c := *ev
	c.Objects = slices.Clone(ev.Objects)
	own(reflect.ValueOf(&c).Elem())
	for i := range c.Objects {
		own(reflect.ValueOf(&c.Objects[i]).Elem())
	}
	return &c, func() {
		for _, b := range memory {
			for i := range b {
				b[i] = '#'
			}
		}
	}
}
