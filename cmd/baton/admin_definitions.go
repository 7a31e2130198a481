package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/batonmq/baton/protocols/http/definitions"
)

func definitionsCommand(f *adminFlags) *cobra.Command {
	var vhost string
	export := f.verbCommand("export [FILE]", "Write all that is declared to a file, as RabbitMQ does", cobra.MaximumNArgs(1), func(b *broker, args []string) error {
		file := ""
		if len(args) > 0 {
			file = args[0]
		}
		return exportDefinitions(b, vhost, file)
	})
	export.Long = `Write users, virtual hosts, permissions, policies, parameters, exchanges, queues and
bindings to FILE, or to standard output, in RabbitMQ's form: no messages. It is sorted,
so that two exports can be compared. The file has the hashes of passwords in it, and is
made readable for its owner alone.`
	load := f.verbCommand("import FILE", "Make what a file of definitions says", cobra.ExactArgs(1), func(b *broker, args []string) error {
		return importDefinitionsFile(b, vhost, args[0])
	})
	load.Long = `Make what FILE says, - for standard input: an export of this broker or of a RabbitMQ.
Users, permissions, policies and parameters that are there are replaced; what the file
does not name stays. All is looked at first: if something cannot be made, as a queue that
is declared otherwise, all of that is told and nothing is changed.`
	for _, verb := range []*cobra.Command{export, load} {
		verb.Flags().StringVar(&vhost, "vhost", "", "`name` of a virtual host: only what is in it (default everything)")
	}
	return nounCommand("definitions", "Export and import all that is declared", export, load)
}

func definitionsPath(vhost string) string {
	if vhost == "" {
		return apiPath("api", "definitions")
	}
	return apiPath("api", "definitions", vhost)
}

func exportDefinitions(b *broker, vhost, file string) error {
	var text json.RawMessage
	if err := b.get(definitionsPath(vhost), &text); err != nil {
		return err
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, text, "", "  "); err != nil {
		return fmt.Errorf("%s is no broker's admin address: %w", b.where, err)
	}
	pretty.WriteByte('\n')
	if file == "" || file == "-" {
		return printOut(b.cmd, pretty.String())
	}
	if err := replaceFile(file, pretty.Bytes()); err != nil {
		return err
	}
	return b.say("definitions are in %s", file)
}

// replaceFile writes a file that its owner alone can read, and puts it in the place of
// the one there was when it is complete.
func replaceFile(name string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // what is left of it is of no use
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	return err
}

func importDefinitionsFile(b *broker, vhost, file string) error {
	var text []byte
	var err error
	if file == "-" {
		text, err = io.ReadAll(b.cmd.InOrStdin())
	} else {
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return err
	}
	if _, err := definitions.Parse(text); err != nil { // what the broker would say, too
		return fmt.Errorf("%s: %w", file, err)
	}
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return fmt.Errorf("%s is empty", file)
	}
	if err := b.do(http.MethodPost, definitionsPath(vhost), json.RawMessage(text), nil, nil); err != nil {
		if missing(err) {
			err = fmt.Errorf("vhost '%s' does not exist", vhost)
		}
		return err
	}
	return b.say("definitions of %s are imported", file)
}
