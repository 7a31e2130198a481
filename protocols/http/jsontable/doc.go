// Package jsontable is field tables as JSON objects, as RabbitMQ's HTTP API and its
// definitions write them.
//
// It guarantees that whole numbers stay what they are in both directions, also those
// that a float64 cannot hold. It does not guarantee that a table comes back as the
// types that it had: JSON knows one kind of number and of text, so what was read is an
// int64 or a float64, and a string. Of equal keys the last one counts.
package jsontable
