package wire

import (
	"fmt"
	"unicode/utf8"
)

// ReplyCode is a reply code of AMQP 0-9-1 section 1.2 of the class reference.
type ReplyCode uint16

// The reply codes. Those below 320 and 403 to 406 close the channel, the others
// the connection; see [ReplyCode.Hard].
const (
	ReplySuccess       ReplyCode = 200
	ContentTooLarge    ReplyCode = 311
	NoRoute            ReplyCode = 312
	NoConsumers        ReplyCode = 313
	ConnectionForced   ReplyCode = 320
	InvalidPath        ReplyCode = 402
	AccessRefused      ReplyCode = 403
	NotFound           ReplyCode = 404
	ResourceLocked     ReplyCode = 405
	PreconditionFailed ReplyCode = 406
	FrameError         ReplyCode = 501
	SyntaxError        ReplyCode = 502
	CommandInvalid     ReplyCode = 503
	ChannelError       ReplyCode = 504
	UnexpectedFrame    ReplyCode = 505
	ResourceError      ReplyCode = 506
	NotAllowed         ReplyCode = 530
	NotImplemented     ReplyCode = 540
	InternalError      ReplyCode = 541
)

// String returns the name that starts a reply text, such as NOT_FOUND.
func (c ReplyCode) String() string {
	switch c {
	case ReplySuccess:
		return "REPLY_SUCCESS"
	case ContentTooLarge:
		return "CONTENT_TOO_LARGE"
	case NoRoute:
		return "NO_ROUTE"
	case NoConsumers:
		return "NO_CONSUMERS"
	case ConnectionForced:
		return "CONNECTION_FORCED"
	case InvalidPath:
		return "INVALID_PATH"
	case AccessRefused:
		return "ACCESS_REFUSED"
	case NotFound:
		return "NOT_FOUND"
	case ResourceLocked:
		return "RESOURCE_LOCKED"
	case PreconditionFailed:
		return "PRECONDITION_FAILED"
	case FrameError:
		return "FRAME_ERROR"
	case SyntaxError:
		return "SYNTAX_ERROR"
	case CommandInvalid:
		return "COMMAND_INVALID"
	case ChannelError:
		return "CHANNEL_ERROR"
	case UnexpectedFrame:
		return "UNEXPECTED_FRAME"
	case ResourceError:
		return "RESOURCE_ERROR"
	case NotAllowed:
		return "NOT_ALLOWED"
	case NotImplemented:
		return "NOT_IMPLEMENTED"
	case InternalError:
		return "INTERNAL_ERROR"
	}
	return fmt.Sprintf("REPLY_%d", uint16(c))
}

// Hard reports whether an error with this code ends the connection rather than
// the channel. A code that is none of the above does.
func (c ReplyCode) Hard() bool {
	switch c {
	case ContentTooLarge, NoRoute, NoConsumers, AccessRefused, NotFound, ResourceLocked, PreconditionFailed:
		return false
	default:
		return true
	}
}

// Error is a fault of the peer as connection.close or channel.close tells it.
// Method is the method that failed, or 0 where none is to blame.
type Error struct {
	Code   ReplyCode
	Method MethodID
	Text   string
}

// Errorf returns an [*Error] with a formatted explanation.
func Errorf(code ReplyCode, method MethodID, format string, args ...any) *Error {
	return &Error{Code: code, Method: method, Text: fmt.Sprintf(format, args...)}
}

// ReplyText returns the reply text: the code's name and the explanation, cut to
// what a short string holds.
func (e *Error) ReplyText() string {
	return truncate(e.Code.String() + " - " + e.Text)
}

// Error returns the reply text with the method's name.
func (e *Error) Error() string {
	if e.Method == 0 {
		return e.ReplyText()
	}
	return e.Method.String() + ": " + e.ReplyText()
}

// truncate cuts s to the length of a short string, not within a UTF-8 sequence.
func truncate(s string) string {
	if len(s) <= maxShortstr {
		return s
	}
	n := maxShortstr
	for n > maxShortstr-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
