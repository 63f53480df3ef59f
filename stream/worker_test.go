package stream

// worker plays the role of a child process in the kill tests.
func worker(role string) bool { return role != "" }
