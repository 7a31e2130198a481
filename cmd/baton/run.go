package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/batonmq/baton/cmd/baton/bench"
	"github.com/batonmq/baton/ha"
)

// program is the whole of what a run depends on, so that tests run it in process.
type program struct {
	name           string // what it was called as, perhaps with a path
	args, env      []string
	reload         <-chan os.Signal // each asks serve to read its configuration again; nil: never
	stdout, stderr io.Writer
}

// run runs the command in args and returns what the process should exit with.
// It ends early, in order, when ctx does.
func (p *program) run(ctx context.Context) exitCode {
	if tool := p.rabbitTool(); tool != nil {
		return p.runTool(ctx, tool)
	}
	if p.isAdminTool() {
		return p.runAdminTool(ctx, p.rabbitmqadmin())
	}
	root, started := p.rootCommand()
	root.SetArgs(p.args)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	// Whatever is wrong before a command starts is wrong with how it was called.
	if !*started {
		err = &exitError{exitUsage, fmt.Errorf("%w (baton --help tells more)", err)}
	}
	if !errors.Is(err, errSaid) {
		_, _ = fmt.Fprintln(p.stderr, "baton: "+err.Error()) // nowhere to say that this failed
	}
	return codeOf(err)
}

// rootCommand returns the command tree and where it notes that a command began.
func (p *program) rootCommand() (root *cobra.Command, started *bool) {
	started = new(bool)
	root = &cobra.Command{
		Use:              "baton",
		Short:            "A message broker in one binary",
		Args:             cobra.NoArgs,
		SilenceErrors:    true,
		SilenceUsage:     true,
		PersistentPreRun: func(*cobra.Command, []string) { *started = true },
		RunE:             func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddCommand(
		p.serveCommand(), p.configCommand(), p.healthCommand(),
		p.haCommand(), p.storageCommand(), p.journalCommand(), p.backupCommand(), p.restoreCommand(), p.tlsCommand(), versionCommand(), manCommand(), bench.Command(),
	)
	root.AddCommand(adminCommands(p.env)...)
	return root, started
}

func (p *program) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the broker",
		Long: "Run the broker until it is told to stop (SIGTERM or Ctrl-C).\n\n" +
			"Settings come from the file, then the environment, then flags; docs/configuration.md lists all.\n" +
			"SIGHUP reads them again and applies those that can change while the broker runs.\n\nExit codes:\n" + exitCodeHelp(),
		Args: cobra.NoArgs,
	}
	load := p.addSettings(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		selfKill := lookupEnv(p.env, envNoSelfKill) == ""
		if c.HA.Enabled && selfKill && ha.NeedsChild() {
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program, to run the broker as a child: %w", err)
			}
			return p.runAsChild(cmd.Context(), self)
		}
		log, control := newLogger(cmd.ErrOrStderr(), c)
		defer control.limit.flush()
		shared, err := c.openDoors(log)
		if err != nil {
			return &exitError{exitUsage, err}
		}
		r := &reloader{load: load, doors: shared, control: control, above: newSupervisor(log), log: log}
		r.inForce.Store(c)
		ctx, cancel := context.WithCancel(cmd.Context())
		var reloading sync.WaitGroup
		reloading.Go(func() { r.loop(ctx, p.reload) })
		defer reloading.Wait()
		defer cancel()
		return serve(ctx, c, r, selfKill, log)
	}
	return cmd
}

func exitCodeHelp() string {
	var b strings.Builder
	for _, e := range exitCodes() {
		fmt.Fprintf(&b, "  %d  %s\n", e.Code, strings.ReplaceAll(e.Doc, "`", ""))
	}
	return b.String()
}

func (p *program) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check, print or reload the configuration",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	check := &cobra.Command{
		Use:   "check",
		Short: "Say whether serve would accept the configuration",
		Args:  cobra.NoArgs,
	}
	loadChecked := p.addSettings(check.Flags())
	check.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := loadChecked()
		if err != nil {
			return err
		}
		for _, name := range c.ignored {
			cmd.PrintErrf("warning: %s names no setting\n", name)
		}
		if err := c.checkFiles(); err != nil {
			return &exitError{exitUsage, err}
		}
		return printOut(cmd, "the configuration is valid\n")
	}
	show := &cobra.Command{
		Use:   "print",
		Short: "Print the effective values and where each comes from, secrets masked",
		Args:  cobra.NoArgs,
	}
	loadShown := p.addSettings(show.Flags())
	show.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := loadShown()
		if err != nil {
			return err
		}
		return printOut(cmd, c.yaml())
	}
	cmd.AddCommand(check, show, configReloadCommand(p.env))
	return cmd
}

// printOut writes a command's result; unlike cobra's own it notices a full disk
// or a closed pipe.
func printOut(cmd *cobra.Command, s string) error {
	if _, err := io.WriteString(cmd.OutOrStdout(), s); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// addSettings adds --config and the settings that have flags, and returns the
// function that loads the configuration once flags are parsed.
func (p *program) addSettings(flags *pflag.FlagSet) func() (*Config, error) {
	file := flags.String("config", "", "YAML `file` with settings (default $"+envConfig+")")
	given := make(map[string]*flagTexts)
	for _, s := range settings() {
		if s.flag == "" {
			continue
		}
		f := &flagTexts{setting: s}
		given[s.key] = f
		flag := flags.VarPF(f, s.flag, "", s.usage())
		if s.isBool() {
			flag.NoOptDefVal = "true"
		}
	}
	return func() (*Config, error) {
		src := source{file: *file, env: p.env, flags: make(map[string][]string)}
		if src.file == "" {
			src.file = lookupEnv(p.env, envConfig)
		}
		for key, f := range given {
			if f.texts != nil {
				src.flags[key] = f.texts
			}
		}
		c, err := loadConfig(src)
		if err != nil {
			return nil, &exitError{exitUsage, err}
		}
		return c, nil
	}
}

func lookupEnv(env []string, name string) string {
	value := ""
	for _, pair := range env { // the last one wins, as in os/exec
		if n, v, ok := strings.Cut(pair, "="); ok && n == name {
			value = v
		}
	}
	return value
}

// flagTexts collects what a flag was given. It keeps the texts unparsed: they
// are applied after file and environment.
type flagTexts struct {
	setting setting
	texts   []string
}

var _ pflag.Value = (*flagTexts)(nil)

// Set appends for a list; of any other flag the last text counts.
func (f *flagTexts) Set(text string) error {
	if !f.setting.list {
		f.texts = f.texts[:0]
	}
	f.texts = append(f.texts, text)
	return nil
}

// String is what the help shows as the default.
func (f *flagTexts) String() string { return f.setting.def }

// Type is the placeholder in the help. By pflag's rule "bool" has none.
func (f *flagTexts) Type() string {
	if f.setting.isBool() {
		return "bool"
	}
	return strings.NewReplacer(", ", "|", " or ", "|").Replace(f.setting.unit)
}

// usage is the help text of the setting's flag. Backquotes would mark its placeholder.
func (s *setting) usage() string {
	doc := strings.TrimSuffix(strings.ReplaceAll(s.doc, "`", "'"), ".")
	if s.list {
		doc += "; repeatable"
	}
	return doc
}

func (s *setting) isBool() bool {
	_, ok := s.bind(new(Config)).(single[bool])
	return ok
}
