// Package definitions reads and writes what RabbitMQ calls definitions: all that
// administrators and applications have declared, and no message, as one JSON document.
//
// It guarantees:
//   - What RabbitMQ 3.10 exports, and what 4 does, can be read, and what is written can
//     be read by both.
//   - An export says the same of the same broker, whatever it was declared in: it is
//     sorted. Importing it into an empty broker, and exporting again, gives the same.
//   - An import is looked at as a whole before anything of it is made: it says of
//     what cannot be what it is and why, and then nothing has changed.
//   - What is so already is not recorded again. An import of what is there changes
//     nothing, and costs no write to the disk but one empty one.
//   - All changes of an import are waited for once, not one by one.
//   - Parameters of components that are unknown here, and global ones, keep their
//     values to the letter.
//
// It does not guarantee:
//   - one moment for an export: it is put together while the broker goes on.
//   - that an import is made whole or not at all: a broker that dies meanwhile has a
//     first part of it, and so may one that was asked for something else at the same
//     time. To import again makes the rest.
//   - that everything of a document means something here: what it has beside the lists
//     that RabbitMQ 3.10 and 4 write is passed over.
//
// What an import finds it changes as RabbitMQ does: users, permissions, policies,
// parameters and what is known of vhosts are replaced. Exchanges, queues and bindings
// stay as they are; one that is declared otherwise is an error, where RabbitMQ says
// nothing. What the document does not name stays.
//
// Passed over, with a note in the [Report], is what cannot be and does no harm: bindings
// whose ends neither exist nor are in the document, which RabbitMQ exports and passes
// over, too; and the queues of MQTT sessions, which come with their clients.
//
// # Vocabulary
//
// A [Document] is what a file holds. A component is who a parameter is for: "shovel" or
// "federation-upstream" in RabbitMQ. The scope of a document is a vhost, or all.
package definitions
