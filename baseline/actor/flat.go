package actor

// FlatTypes lists the state types, for the test that they hold no pointer and no
// padding.
func FlatTypes() []any {
	return []any{Actor{}, identifier{}, account{}, pair{}, large{}, siteState{}, Stats{}, residents{}}
}
