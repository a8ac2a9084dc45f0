package msb

import "time"

// SetPatience has guests that do not answer be given up earlier; the result undoes it.
func SetPatience(ping, answer time.Duration) (undo func()) {
	oldPing, oldAnswer := pingInterval, answerTimeout
	pingInterval, answerTimeout = ping, answer
	return func() { pingInterval, answerTimeout = oldPing, oldAnswer }
}

// CreateArguments returns the arguments of msb create, and the variables for its environment.
func CreateArguments(name string, options CreateOptions) ([]string, map[string]string, error) {
	return options.arguments(name)
}

// LogArguments returns the arguments of msb logs.
func LogArguments(name string, options LogOptions) ([]string, error) { return options.arguments(name) }

// FailureOf returns the error of a failed msb.
func FailureOf(exitCode int, stderr, name string) error {
	return failureOf(exitCode, []byte(stderr), name)
}
