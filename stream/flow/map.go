package flow

// Map is a flow map: what the routes of one application mean. It is plain data
// that cmd/config decodes from YAML; NewExtractor checks and compiles it.
type Map struct {
	APIVersion  string      `yaml:"apiVersion" doc:"always weir/v1"`
	Kind        string      `yaml:"kind" doc:"always FlowMap"`
	Site        string      `yaml:"site" doc:"the protected application"`
	Identifiers Identifiers `yaml:"identifiers" doc:"how requests name who is asking; the first selector that yields a value wins"`
	Routes      []Route     `yaml:"routes" doc:"what routes mean"`
	// Hash and Plain override, for the whole map, which objects are stored as
	// keyed hashes and which stay readable.
	Hash  []string `yaml:"hash" doc:"objects that are stored as keyed hashes"`
	Plain []string `yaml:"plain" doc:"objects that stay readable"`
}

// Identifiers are the selectors that name who is asking.
type Identifiers struct {
	Session Selectors `yaml:"session" doc:"selectors of the session"`
	Device  Selectors `yaml:"device" doc:"selectors of the device"`
	Account Selectors `yaml:"account" doc:"selectors of the account that the application vouches for"`
}

// Selectors is one selector or a list of them; the first that yields a value
// wins.
type Selectors []string

// Route says what one route means.
type Route struct {
	Match   Match   `yaml:"match" doc:"which requests"`
	Role    string  `yaml:"role" doc:"what the route does in the application"`
	Claims  Claims  `yaml:"claims" doc:"who and what the request claims; not proven"`
	Outcome Outcome `yaml:"outcome" doc:"how the answer says success or failure"`
	Proves  string  `yaml:"proves" doc:"account: on success the claimed account owns the session"`
	Objects Objects `yaml:"objects" doc:"objects by name"`
	// Cost is the price of one call in the site's own unit; events carry it in
	// thousandths.
	Cost float64 `yaml:"cost" doc:"price of one call, in the site's own unit"`
	Step int     `yaml:"step" doc:"number of the checkout step, from 1"`
	// Opens, Closes and Objects may stand in the answer (response_body:,
	// response_header:); what the request names wins, and only that can be bound
	// by a verdict, which must know a request before it is answered.
	Opens  Selectors `yaml:"opens" doc:"selector of the time at which the object opens (sale start)"`
	Closes Selectors `yaml:"closes" doc:"selector of the time at which the object closes (auction end)"`
	// Unreadable answers a request whose claims cannot be read: UnreadablePass
	// or UnreadableReject (413). Empty is reject for login routes, else pass.
	Unreadable string   `yaml:"unreadable" doc:"what to do when the body cannot be read: pass or reject (413); default pass, login routes reject"`
	Hash       []string `yaml:"hash" doc:"objects of this route that are stored as keyed hashes"`
	Plain      []string `yaml:"plain" doc:"objects of this route that stay readable"`
}

// The values of Route.Unreadable.
const (
	UnreadablePass   = "pass"
	UnreadableReject = "reject"
)

// Match says which requests a route covers.
type Match struct {
	// Method is one method, several separated by commas, or empty for all.
	Method string `yaml:"method" doc:"method, several separated by commas, empty for all"`
	// Path is a template: "/item/{id}", "/static/{rest...}".
	Path string `yaml:"path" doc:"path template, such as /item/{id} or /files/{rest...}"`
}

// Claims are the selectors of what a request claims.
type Claims struct {
	Account Selectors `yaml:"account" doc:"selector of the claimed account"`
	Secret  Selectors `yaml:"secret" doc:"selector of the submitted secret"`
}

// Outcome says how the answer tells success from failure.
type Outcome struct {
	Success *Condition `yaml:"success" doc:"the answer means success"`
	Failure *Condition `yaml:"failure" doc:"the answer means failure"`
}

// Condition holds when all that it names holds.
type Condition struct {
	// Status lists codes, ranges (200-299) and classes (2xx), comma separated.
	Status string `yaml:"status" doc:"codes, ranges (200-299) and classes (2xx), comma separated"`
	// ResponseBody maps a JSON pointer to an exact value or "*" (present).
	ResponseBody map[string]string `yaml:"response_body" doc:"JSON pointer to an exact value, or * for present"`
	// ResponseHeader maps a header name to an exact value or "*" (present).
	ResponseHeader map[string]string `yaml:"response_header" doc:"header name to an exact value, or * for present"`
}

// Objects are named selectors in the order of the map.
type Objects []NamedSelectors

// NamedSelectors is one object of a route.
type NamedSelectors struct {
	Name      string
	Selectors Selectors
}

// Fault is one thing wrong with a map, with its YAML path ("routes[2].role").
type Fault struct {
	Path string
	// Text says what is wrong, and the nearest valid name where there is one.
	Text string
}

func (f Fault) String() string { return f.Path + ": " + f.Text }
