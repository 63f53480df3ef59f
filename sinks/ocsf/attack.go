package ocsf

import "github.com/weirproject/weir/stream/verdict"

// attackVersion is the MITRE ATT&CK release whose names are used.
const attackVersion = "16.1"

// attack is OCSF's attack object.
type attack struct {
	Tactic       named  `json:"tactic"`
	Technique    named  `json:"technique"`
	SubTechnique named  `json:"sub_technique"`
	Version      string `json:"version"`
}

type named struct {
	UID  string `json:"uid"`
	Name string `json:"name"`
}

var (
	reconnaissance   = named{"TA0043", "Reconnaissance"}
	credentialAccess = named{"TA0006", "Credential Access"}
	impact           = named{"TA0040", "Impact"}
	activeScanning   = named{"T1595", "Active Scanning"}
	bruteForce       = named{"T1110", "Brute Force"}
)

// attackOf names the technique of those automated threats that ATT&CK knows; most
// misuse a function as it is meant to be used, which ATT&CK does not list.
var attackOf = map[verdict.Threat]attack{
	"OAT-004": {reconnaissance, named{"T1592", "Gather Victim Host Information"}, named{"T1592.002", "Software"}, attackVersion},
	"OAT-007": {credentialAccess, bruteForce, named{"T1110.001", "Password Guessing"}, attackVersion},
	"OAT-008": {credentialAccess, bruteForce, named{"T1110.004", "Credential Stuffing"}, attackVersion},
	"OAT-014": {reconnaissance, activeScanning, named{"T1595.002", "Vulnerability Scanning"}, attackVersion},
	"OAT-015": {impact, named{"T1499", "Endpoint Denial of Service"}, named{"T1499.003", "Application Exhaustion Flood"}, attackVersion},
	"OAT-018": {reconnaissance, activeScanning, named{"T1595.003", "Wordlist Scanning"}, attackVersion},
}

func attacks(threats []verdict.Threat) (out []attack) {
	for _, t := range threats {
		if a, ok := attackOf[t]; ok {
			out = append(out, a)
		}
	}
	return out
}
