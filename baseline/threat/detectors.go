package threat

// Detectors lists every detector; their order is part of the state's format.
func Detectors() []Detector {
	return []Detector{
		oat001{},
		oat002{},
		oat003{},
		oat004{},
		oat005{},
		oat006{},
		oat007{},
		oat008{},
		oat009{},
		oat010{},
		oat011{},
		oat012{},
		oat013{},
		oat014{},
		oat015{},
		oat016{},
		oat017{},
		oat018{},
		oat019{},
		oat020{},
		oat021{},
	}
}
