package ocsf

// methods are the activities of HTTP Activity for the methods of RFC 9110 and
// RFC 5789; http_request.http_method knows the same names.
var methods = map[string]struct {
	id   int
	name string
}{
	"CONNECT": {1, "Connect"}, "DELETE": {2, "Delete"}, "GET": {3, "Get"}, "HEAD": {4, "Head"}, "OPTIONS": {5, "Options"},
	"POST": {6, "Post"}, "PUT": {7, "Put"}, "TRACE": {8, "Trace"}, "PATCH": {9, "Patch"},
}

// method returns the activity of a request method.
func method(m string) (id int, name string) {
	if a, ok := methods[m]; ok {
		return a.id, a.name
	}
	if m == "" {
		return 0, "Unknown"
	}
	return 99, "Other"
}

// knownMethod is the method where the schema names it, else empty; the method
// as sent stands in unmapped.
func knownMethod(m string) string {
	if _, ok := methods[m]; ok {
		return m
	}
	return ""
}
