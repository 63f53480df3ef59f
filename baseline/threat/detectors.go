package threat

// Detectors lists every detector; their order is part of the state's format.
func Detectors() []Detector {
	return []Detector{oat008{}, oat007{}, oat018{}, oat014{}, oat015{}, oat011{}}
}
