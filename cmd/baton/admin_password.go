package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// maxPassword bounds what is read of a file or of standard input.
const maxPassword = 4 << 10

// A secret is a password that a command needs, and where it may come from: a
// file, the environment, the terminal, or a line of standard input.
type secret struct {
	file   string // "-": standard input; empty: not given
	env    string // name of a variable
	prompt string
	twice  bool // a new one, which nobody can look at
}

// secret gets it. Never is it an argument: those are seen by everybody on the machine.
func (f *adminFlags) secret(cmd *cobra.Command, s secret) (string, error) {
	switch {
	case s.file == "-":
		return f.stdin.next()
	case s.file != "":
		return readPasswordFile(s.file)
	}
	if text := lookupEnv(f.env, s.env); text != "" {
		return text, nil
	}
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !isTerminal(in) {
		return f.stdin.next()
	}
	text, err := prompt(cmd.Context(), in, cmd.ErrOrStderr(), s.prompt)
	if err != nil || !s.twice {
		return text, err
	}
	again, err := prompt(cmd.Context(), in, cmd.ErrOrStderr(), "Once more: ")
	if err == nil && again != text {
		err = errors.New("the two passwords are not the same")
	}
	return text, err
}

// readPasswordFile returns the file's text without the line's end.
func readPasswordFile(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	return (&lines{in: file}).next()
}

// lines are those of standard input, which may have several passwords.
type lines struct {
	in io.Reader
	r  *bufio.Reader
}

// next returns the next line as a password.
func (l *lines) next() (string, error) {
	if l.r == nil {
		l.r = bufio.NewReaderSize(l.in, maxPassword)
	}
	line, err := l.r.ReadSlice('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the password: %w", err)
	}
	text := strings.TrimRight(string(line), "\r\n")
	if text == "" {
		return "", &exitError{exitUsage, errors.New("no password: give it in a file, on standard input, or when asked")}
	}
	return text, nil
}

// prompt asks on a terminal that does not show what is typed.
func prompt(ctx context.Context, in *os.File, out io.Writer, text string) (string, error) {
	show, err := hideInput(in)
	if err != nil {
		return "", fmt.Errorf("hide what is typed: %w (give the password in a file)", err)
	}
	defer show()
	_, _ = io.WriteString(out, text)                    // who does not see the question can still answer
	defer func() { _, _ = io.WriteString(out, "\n") }() // the end of the line was not shown
	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, 1)
	go func() { // ends with the line, or with the process: a terminal cannot be stopped from waiting
		text, err := (&lines{in: in}).next()
		answers <- answer{text, err}
	}()
	select {
	case a := <-answers:
		return a.text, a.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
