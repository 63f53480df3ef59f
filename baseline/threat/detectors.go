package threat

// Detectors lists every detector; their order is part of the state's format.
func Detectors() []Detector {
	return []Detector{
		oat001{}, oat002{}, oat003{}, oat007{}, oat008{}, oat009{}, oat010{}, oat011{}, oat012{}, oat014{}, oat015{}, oat018{}, oat019{},
		oat020{},
	}
}
