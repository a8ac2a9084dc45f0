package msb

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// report is a failure as msb prints it with --json.
type report struct {
	Code    string   `json:"code"`
	Message string   `json:"message"`
	Causes  []string `json:"causes"`
	Hint    *string  `json:"hint"`
	Name    *string  `json:"name"`
}

// finding is an error in a Sandboxfile or in a command line.
type finding struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Help    string `json:"help"`
}

// codesByExit are the documented exit codes, for an msb that prints no typed failure.
var codesByExit = map[int]Code{
	3:   CodeMismatch,
	4:   CodeTimedOut,
	5:   CodeLocked,
	10:  CodeUnsupported,
	11:  CodeUnresponsive,
	64:  CodeUsage,
	130: CodeInterrupted,
	143: CodeTerminated,
}

// codesByText are the messages of an msb that prints no typed failure, or none with a code of its own.
var codesByText = []struct {
	pattern *regexp.Regexp
	code    Code
}{
	{regexp.MustCompile(`there is no sandbox `), CodeSandboxNotFound},
	{regexp.MustCompile(`there is no volume `), CodeVolumeNotFound},
	{regexp.MustCompile(`there is no snapshot `), CodeSnapshotNotFound},
	{regexp.MustCompile(`there is no image `), CodeImageNotFound},
	{regexp.MustCompile(`there is no job `), CodeJobNotFound},
	{regexp.MustCompile(`^a sandbox \S+ already exists`), CodeSandboxExists},
	{regexp.MustCompile(`volume \S+ already exists`), CodeVolumeExists},
	{regexp.MustCompile(`snapshot \S+ already exists`), CodeSnapshotExists},
	{regexp.MustCompile(`(is|does) not run`), CodeSandboxNotRunning},
	{regexp.MustCompile(`(^|: )missed a rotation`), CodeMissedRotation},
	{regexp.MustCompile(`is not a cursor|does not belong to this`), CodeInvalidCursor},
}

var (
	broadSuffix     = regexp.MustCompile("`(\\*?\\.?[^`\\s]+)` matches")
	missingSegment  = regexp.MustCompile(`the next file (\d+) of`)
	diagnosedError  = regexp.MustCompile(`×\s*(.+)`)
	maxMessageBytes = 2000
)

// failureOf returns the error of a failed msb: from the JSON on its last line, or else from its text.
func failureOf(exitCode int, stderr []byte, name string) error {
	text := strings.ToValidUTF8(string(bytes.TrimSpace(stderr)), "\uFFFD")
	lines := strings.Split(text, "\n")
	var document struct {
		Error    *report   `json:"error"`
		Findings []finding `json:"findings"`
	}
	last := lines[len(lines)-1]
	if strings.HasPrefix(last, "{") && json.Unmarshal([]byte(last), &document) == nil && document.Error != nil {
		lines = lines[:len(lines)-1]
	}
	typed := document.Error
	if typed == nil {
		typed = plainReport(lines, exitCode)
	}
	if typed.Name == nil && name != "" {
		typed.Name = &name
	}
	if strings.Contains(text, "suffix_too_broad") {
		typed.Code = string(CodeSuffixTooBroad)
	} else if typed.Code == "" || typed.Code == string(CodeFailed) || typed.Code == string(CodeUsage) {
		typed.Code = string(codeOfTexts(typed, exitCode))
	}
	if len(document.Findings) > 0 && document.Findings[0].Message != "" {
		first := document.Findings[0]
		typed.Message = first.Message
		if typed.Hint == nil && first.Help != "" {
			typed.Hint = &first.Help
		}
	}
	return typed.error(exitCode, text)
}

func codeOfTexts(typed *report, exitCode int) Code {
	for _, known := range codesByText {
		for _, text := range append([]string{typed.Message}, typed.Causes...) {
			if known.pattern.MatchString(text) {
				return known.code
			}
		}
	}
	if typed.Code != "" {
		return Code(typed.Code)
	}
	if code, known := codesByExit[exitCode]; known {
		return code
	}
	return CodeFailed
}

// error returns the typed error of a report. text is all that msb has printed on standard error.
func (r *report) error(exitCode int, text string) error {
	err := &Error{Code: Code(r.Code), Message: r.Message, Causes: r.Causes, ExitCode: exitCode}
	if err.Code == "" {
		err.Code = CodeFailed
	}
	if err.Message == "" {
		err.Message = "msb failed"
	}
	if r.Hint != nil {
		err.Hint = *r.Hint
	}
	if r.Name != nil {
		err.Name = *r.Name
	}
	switch err.Code {
	case CodeSuffixTooBroad:
		broad := &SuffixTooBroadError{Err: err}
		if match := broadSuffix.FindStringSubmatch(text); match != nil {
			broad.Raw = match[1]
		}
		return broad
	case CodeInvalidCursor:
		return &InvalidCursorError{Err: err}
	case CodeMissedRotation:
		missed := &MissedRotationError{Err: err, DroppedFromOffset: -1}
		if match := missingSegment.FindStringSubmatch(text); match != nil {
			if number, parseError := strconv.ParseInt(match[1], 10, 64); parseError == nil {
				missed.DroppedFromOffset = number
			}
		}
		return missed
	default:
		return err
	}
}

// plainReport reads the text of an msb that prints no typed failure.
func plainReport(lines []string, exitCode int) *report {
	plain := &report{}
	var others []string
	for _, line := range lines {
		switch {
		case strings.HasPrefix(line, "hint: "):
			hint := strings.TrimPrefix(line, "hint: ")
			plain.Hint = &hint
		case strings.HasPrefix(line, "error: ") && plain.Message == "":
			plain.Message = strings.TrimPrefix(line, "error: ")
		default:
			others = append(others, line)
		}
	}
	if plain.Message != "" {
		return plain
	}
	plain.Message = strings.Join(others, "\n")
	if match := diagnosedError.FindStringSubmatch(plain.Message); match != nil {
		plain.Message = match[1]
	}
	if plain.Message == "" {
		plain.Message = fmt.Sprintf("msb ended with exit code %d", exitCode)
	}
	if len(plain.Message) > maxMessageBytes {
		plain.Message = strings.ToValidUTF8(plain.Message[:maxMessageBytes], "")
	}
	return plain
}

// checkResults returns the error of the first sandbox that failed in a document of results.
func checkResults(document []byte) error {
	var results struct {
		Sandboxes []struct {
			Error *report `json:"error"`
		} `json:"sandboxes"`
	}
	if len(document) == 0 || json.Unmarshal(document, &results) != nil {
		return nil
	}
	for _, sandbox := range results.Sandboxes {
		if sandbox.Error != nil {
			return sandbox.Error.error(0, sandbox.Error.Message)
		}
	}
	return nil
}
