package ocsf

// header is what both classes share: base_event and the security_control
// profile.
type header struct {
	ActivityID    int            `json:"activity_id"`
	ActivityName  string         `json:"activity_name"`
	CategoryUID   int            `json:"category_uid"`
	CategoryName  string         `json:"category_name"`
	ClassUID      int            `json:"class_uid"`
	ClassName     string         `json:"class_name"`
	TypeUID       int64          `json:"type_uid"`
	TypeName      string         `json:"type_name"`
	Time          int64          `json:"time"`
	SeverityID    int            `json:"severity_id"`
	Severity      string         `json:"severity"`
	StatusID      int            `json:"status_id,omitempty"`
	Status        string         `json:"status,omitempty"`
	Message       string         `json:"message,omitempty"`
	Metadata      metadata       `json:"metadata"`
	ActionID      int            `json:"action_id"`
	Action        string         `json:"action"`
	DispositionID int            `json:"disposition_id"`
	Disposition   string         `json:"disposition"`
	IsAlert       bool           `json:"is_alert"`
	Policy        *policy        `json:"policy,omitempty"`
	Rule          *firewallRule  `json:"firewall_rule,omitempty"`
	Attacks       []attack       `json:"attacks,omitempty"`
	Observables   []observable   `json:"observables,omitempty"`
	Unmapped      map[string]any `json:"unmapped"`
}

type metadata struct {
	Version        string   `json:"version"`
	UID            string   `json:"uid"`
	CorrelationUID string   `json:"correlation_uid,omitempty"`
	LogName        string   `json:"log_name"`
	TenantUID      string   `json:"tenant_uid,omitempty"`
	Product        product  `json:"product"`
	Profiles       []string `json:"profiles"`
}

type product struct {
	Name       string `json:"name"`
	UID        string `json:"uid"`
	VendorName string `json:"vendor_name"`
	Version    string `json:"version,omitempty"`
}

// policy is named by its hash, which is its version as well.
type policy struct {
	UID       string `json:"uid"`
	Version   string `json:"version"`
	IsApplied bool   `json:"is_applied"`
}

type firewallRule struct {
	Name         string   `json:"name"`
	UID          string   `json:"uid"`
	Condition    string   `json:"condition,omitempty"`
	MatchDetails []string `json:"match_details,omitempty"`
}

type observable struct {
	Name   string `json:"name"`
	TypeID int    `json:"type_id"`
	Type   string `json:"type"`
	Value  string `json:"value"`
}

// finding is a Detection Finding.
type finding struct {
	header
	ConfidenceID    int               `json:"confidence_id"`
	Confidence      string            `json:"confidence"`
	ConfidenceScore int               `json:"confidence_score"`
	RiskLevelID     int               `json:"risk_level_id"`
	RiskLevel       string            `json:"risk_level"`
	RiskScore       int64             `json:"risk_score"`
	FindingInfo     info              `json:"finding_info"`
	StartTime       int64             `json:"start_time"`
	Evidences       []evidence        `json:"evidences"`
	AnomalyAnalyses []anomalyAnalysis `json:"anomaly_analyses,omitempty"`
}

type info struct {
	UID           string    `json:"uid"`
	Title         string    `json:"title"`
	Desc          string    `json:"desc,omitempty"`
	Types         []string  `json:"types,omitempty"`
	Tags          []tag     `json:"tags,omitempty"`
	CreatedTime   int64     `json:"created_time"`
	ModifiedTime  int64     `json:"modified_time"`
	Analytic      analytic  `json:"analytic"`
	RelatedEvents []related `json:"related_events,omitempty"`
	Attacks       []attack  `json:"attacks,omitempty"`
}

type tag struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type analytic struct {
	TypeID  int    `json:"type_id"`
	Type    string `json:"type"`
	Name    string `json:"name"`
	UID     string `json:"uid"`
	Version string `json:"version,omitempty"`
}

type related struct {
	UID      string `json:"uid"`
	TypeUID  int64  `json:"type_uid"`
	TypeName string `json:"type_name"`
}

type evidence struct {
	UID  string         `json:"uid"`
	Name string         `json:"name"`
	Data map[string]any `json:"data"`
}

type anomalyAnalysis struct {
	Targets   []analysisTarget `json:"analysis_targets"`
	Anomalies []observed       `json:"anomalies"`
	Baselines []observed       `json:"baselines,omitempty"`
}

type analysisTarget struct {
	Name string `json:"name"`
	Type string `json:"type,omitempty"`
}

type observed struct {
	Parameter    string        `json:"observation_parameter"`
	Pattern      string        `json:"observed_pattern,omitempty"`
	Observations []observation `json:"observations"`
}

type observation struct {
	Value string `json:"value"`
}

// activityDoc is an HTTP Activity.
type activityDoc struct {
	header
	HTTPRequest  httpRequest   `json:"http_request"`
	HTTPResponse *httpResponse `json:"http_response,omitempty"`
	Source       endpoint      `json:"src_endpoint"`
	JA4          []ja4         `json:"ja4_fingerprint_list,omitempty"`
}

type httpRequest struct {
	UID       string      `json:"uid"`
	Method    string      `json:"http_method,omitempty"`
	UserAgent string      `json:"user_agent,omitempty"`
	URL       *webAddress `json:"url"`
}

type webAddress struct {
	Hostname    string `json:"hostname,omitempty"`
	Path        string `json:"path"`
	QueryString string `json:"query_string,omitempty"`
}

type httpResponse struct {
	Code int `json:"code"`
}

type endpoint struct {
	IP   string `json:"ip,omitempty"`
	Port int    `json:"port,omitempty"`
	UID  string `json:"uid,omitempty"`
	Name string `json:"name,omitempty"`
}

type ja4 struct {
	TypeID int    `json:"type_id"`
	Type   string `json:"type"`
	Value  string `json:"value"`
}
