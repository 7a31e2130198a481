package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/persistence/memstore"
	"github.com/batonmq/baton/protocols/auth"
	admin "github.com/batonmq/baton/protocols/http"
	"github.com/batonmq/baton/protocols/http/api"
)

// adminBroker is a broker that the commands are run against: on a socket, and on an
// admin port where "adm" with the password "adm-pw" administrates.
type adminBroker struct {
	*core.Broker

	health      *admin.Health
	socket, url string
	watermark   int64
}

func startAdminBroker(t *testing.T) *adminBroker {
	t.Helper()
	store := memstore.Open(memstore.Options{})
	broker, err := core.Open(t.Context(), store, core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		broker.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	user, perms, err := auth.FirstUser("adm", "adm-pw", "/")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := broker.Access().Seed(t.Context(), user, perms); err != nil {
		t.Fatal(err)
	}
	accounts, err := auth.NewAccounts(auth.AccountsOptions{Users: broker.Access()})
	if err != nil {
		t.Fatal(err)
	}
	internal, err := auth.NewInternal(accounts, auth.InternalOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "b") //nolint:usetesting // a socket's path may not be long, and the test's name would be in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b := &adminBroker{Broker: broker, health: new(admin.Health), socket: filepath.Join(dir, "a.sock"), watermark: 100 << 20}
	b.health.Set(admin.State{Role: admin.RolePrimary, Epoch: 1})
	var mu sync.Mutex
	p := &api.Primary{
		Broker: broker, Auth: internal, Account: accounts.Principal,
		SetMemoryWatermark: func(n int64) error {
			mu.Lock()
			defer mu.Unlock()
			if b.watermark = n; n < 0 {
				b.watermark = 100 << 20
			}
			broker.SetMemoryAlarm(b.watermark < 3<<20)
			return nil
		},
	}
	server, err := admin.Start(t.Context(), admin.Options{
		Admin: []string{"127.0.0.1:0"}, Socket: b.socket, Health: b.health, Node: "node-a", Version: "1", Primary: func() *api.Primary { return p },
		Facts: func() api.NodeFacts {
			mu.Lock()
			defer mu.Unlock()
			return api.NodeFacts{MemoryUsed: 3 << 20, MemoryWatermark: b.watermark, MemoryLimit: 200 << 20, DiskFree: 5 << 30, DiskWatermark: 512 << 20}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	b.url = "http://" + server.AdminAddrs()[0].String()
	return b
}

// adminRun runs one of the commands.
func adminRun(t *testing.T, env []string, stdin string, args ...string) (code exitCode, stdout, stderr string) {
	t.Helper()
	root := &cobra.Command{Use: "baton", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(adminCommands(env)...)
	var out, errs bytes.Buffer
	root.SetArgs(args)
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&errs)
	err := root.ExecuteContext(t.Context())
	if err != nil {
		errs.WriteString(err.Error())
	}
	return codeOf(err), out.String(), errs.String()
}

// adminStep is a command and what it says. Words of want stand apart by any number
// of spaces; of an error it is a part.
type adminStep struct {
	stdin, args string // args are split at spaces; _ is an empty one
	want        string
	fails       bool
}

func (b *adminBroker) play(t *testing.T, steps []adminStep) {
	t.Helper()
	for _, s := range steps {
		args := strings.Fields(s.args)
		for i, a := range args {
			if a == "_" {
				args[i] = ""
			}
		}
		code, stdout, stderr := adminRun(t, nil, s.stdin, slices.Insert(args, 1, "--admin-socket", b.socket)...)
		want, got := strings.Join(strings.Fields(s.want), " "), strings.Join(strings.Fields(stdout), " ")
		switch {
		case s.fails && (code == exitOK || !strings.Contains(stderr, s.want)):
			t.Errorf("baton %s: %d, %q, %q; want an error with %q", s.args, code, stdout, stderr, s.want)
		case !s.fails && (code != exitOK || got != want):
			t.Errorf("baton %s: %d, %q, %q; want %q", s.args, code, got, stderr, want)
		}
	}
}

func TestAdmin_Users(t *testing.T) {
	b := startAdminBroker(t)
	b.play(t, []adminStep{
		{"", "user list", "NAME TAGS PASSWORD LIMITS adm administrator argon2id -", false},
		{"s3cret\n", "user add app --tags monitoring,x", "user 'app' is added; it has no permissions yet", false},
		{"x\n", "user add app", "user 'app' exists already", true},
		{"", "user add silent", "no password", true},
		{"", "user add silent --no-password", "user 'silent' is added; it has no permissions yet", false},
		{"s3cret\n", "user verify app", "this is the password of user 'app'", false},
		{"wrong\n", "user verify app", "this is not the password of user 'app'", true},
		{"", "user set-tags app management", "user 'app' has the tags management", false},
		{"s3cret\n", "user verify app", "this is the password of user 'app'", false},
		{"", "user set-tags app", "user 'app' has the tags -", false},
		{"s3cret", "user verify app", "this is the password of user 'app'", false},
		{"", "limit set user app max-channels 3", "user 'app' has the limit max-channels = 3", false},
		{"new\r\n", "user set-password app --password-file -", "user 'app' has a new password", false},
		{"s3cret\n", "user verify app", "this is not the password", true},
		{"new\n", "user verify app", "this is the password of user 'app'", false},
		{"", "user list", "NAME TAGS PASSWORD LIMITS adm administrator argon2id - app - argon2id max-channels=3 silent - none -", false},
		{"", "user set-password app --no-password", "user 'app' has no password any more", false},
		{"new\n", "user verify app", "this is not the password", true},
		{"", "user delete app", "user 'app' is deleted", false},
		{"", "user delete app", "user 'app' does not exist", true},
		{"x", "user set-password app", "user 'app' does not exist", true},
		{"", "user set-tags app x", "user 'app' does not exist", true},
	})
	file := writeFile(t, "pw", "from a file\n")
	b.play(t, []adminStep{{"", "user add filed --password-file " + file, "user 'filed' is added; it has no permissions yet", false}})
	if code, _, stderr := adminRun(t, []string{"BATON_USER_PASSWORD=from a file"}, "", "user", "verify", "filed", "--admin-socket", b.socket); code != exitOK {
		t.Errorf("with the password in the environment: %d, %q", code, stderr)
	}
	if _, stdout, _ := adminRun(t, nil, "", "user", "list", "--json", "--admin-socket", b.socket); strings.Contains(stdout, "$argon2id$") {
		t.Errorf("the list shows a hash: %s", stdout)
	}
	b.play(t, []adminStep{{"", "user add strange\x1b[31m --no-password", "user 'strange\x1b[31m' is added; it has no permissions yet", false}})
	if _, stdout, _ := adminRun(t, nil, "", "user", "list", "--admin-socket", b.socket); strings.Contains(stdout, "\x1b") {
		t.Errorf("a table shows what a terminal obeys: %q", stdout)
	}
}

func TestAdmin_VHostsPermissionsAndLimits(t *testing.T) {
	b := startAdminBroker(t)
	b.play(t, []adminStep{
		{"", "vhost add a/b --description d --tags x,y --default-queue-type quorum", "vhost 'a/b' is added", false},
		{"", "vhost add a/b", "vhost 'a/b' exists already", true},
		{"", "vhost add c --default-queue-type bogus", `default_queue_type "bogus" is not one of`, true},
		{"", "vhost list", `NAME DESCRIPTION TAGS QUEUE TYPE / "" - classic a/b d x,y quorum`, false},

		{"", "user add app --no-password", "user 'app' is added; it has no permissions yet", false},
		{"", "permission set app ^c _ .* --vhost a/b", "user 'app' has permissions in vhost 'a/b'", false},
		{"", "permission set app ( _ .*", "invalid_regexp: configure", true},
		{"", "permission set nope _ _ _", "there is no user 'nope', or no vhost '/'", true},
		{"", "permission list", `VHOST USER CONFIGURE WRITE READ / adm .* .* .* a/b app ^c "" .*`, false},
		{"", "permission list app", `VHOST USER CONFIGURE WRITE READ a/b app ^c "" .*`, false},
		{"", "permission list --vhost /", `VHOST USER CONFIGURE WRITE READ / adm .* .* .*`, false},
		{"", "permission list nope", "user 'nope' does not exist", true},
		{"", "permission clear app", "user 'app' has no permissions in vhost '/'", true},
		{"", "permission clear app --vhost a/b", "user 'app' has no permissions in vhost 'a/b' any more", false},

		{"", "topic-permission set app amq.topic ^{client_id} _", "user 'app' has topic permissions on exchange 'amq.topic' in vhost '/'", false},
		{"", "topic-permission set app x _ _", "user 'app' has topic permissions on exchange 'x' in vhost '/'", false},
		{"", "topic-permission list app", `VHOST USER EXCHANGE WRITE READ / app amq.topic ^{client_id} "" / app x "" ""`, false},
		{"", "topic-permission clear app x", "user 'app' has no such topic permissions in vhost '/' any more", false},
		{"", "topic-permission clear app x", "user 'app' has no such topic permissions", true},
		{"", "topic-permission clear app", "user 'app' has no such topic permissions in vhost '/' any more", false},
		{"", "topic-permission list", `VHOST USER EXCHANGE WRITE READ`, false},

		{"", "limit set vhost a/b max-queues 10", "vhost 'a/b' has the limit max-queues = 10", false},
		{"", "limit set user app max-connections 0", "user 'app' has the limit max-connections = 0", false},
		{"", "limit set user app max-queues 1", "Unrecognised limit", true},
		{"", "limit set vhost nope max-queues 1", "vhost 'nope' does not exist", true},
		{"", "limit set user app max-connections -- -1", "is not a whole number", true},
		{"", "limit set queue q max-length 1", `"queue" is neither user nor vhost`, true},
		{"", "limit list", "KIND NAME LIMIT VALUE user app max-connections 0 vhost a/b max-queues 10", false},
		{"", "limit clear user app max-connections", "user 'app' has no limit max-connections", false},
		{"", "limit clear user nope max-connections", "user 'nope' does not exist", true},
		{"", "limit list", "KIND NAME LIMIT VALUE vhost a/b max-queues 10", false},

		{"", "vhost add ..", "vhost '..' is added", false},
		{"", "vhost delete ..", "vhost '..' is deleted with everything in it", false},
		{"", "vhost add //", "vhost '//' is added", false},
		{"", "vhost add a%2Fb", "vhost 'a%2Fb' is added", false},
		{"", "vhost list", `NAME DESCRIPTION TAGS QUEUE TYPE / "" - classic // "" - classic a%2Fb "" - classic a/b d x,y quorum`, false},
		{"", "vhost delete a/b", "vhost 'a/b' is deleted with everything in it", false},
		{"", "vhost delete a/b", "vhost 'a/b' does not exist", true},
	})
	if u, _ := b.Access().User("app"); u.MaxConnections != -1 {
		t.Errorf("the limit is %d", u.MaxConnections)
	}
}

func TestAdmin_Connections(t *testing.T) {
	b := startAdminBroker(t)
	ended := make(chan error, 4)
	for _, info := range []core.ConnectionInfo{
		{Name: "127.0.0.1:1 -> 127.0.0.1:5672", User: "adm", VHost: "/", Protocol: "AMQP 0-9-1", Channels: 2, ClientName: "app"},
		{Name: "127.0.0.1:2 -> 127.0.0.1:1883", User: "adm", VHost: "/", Protocol: "MQTT 5-0", ClientID: "dev", ClientProperties: field.Table{}},
	} {
		s, err := b.Attach("/", core.SessionOptions{
			User: info.User, Info: func(bool) core.ConnectionInfo { return info }, End: func(err error) { ended <- err },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
	}
	code, stdout, stderr := adminRun(t, nil, "", "connection", "list", "--json", "--admin-socket", b.socket)
	var list []adminConnection
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || code != exitOK {
		t.Fatal(code, stderr, err)
	}
	if len(list) != 2 || list[0].Channels != 2 || list[0].Client != "app" || list[1].Properties.ClientID != "dev" {
		t.Errorf("listed are %+v", list)
	}
	_, stdout, _ = adminRun(t, nil, "", "connection", "list", "--vhost", "/", "--admin-socket", b.socket)
	if !strings.Contains(stdout, "127.0.0.1:1 -> 127.0.0.1:5672  adm   /      AMQP 0-9-1  running  2         false  app ") {
		t.Errorf("the table is\n%s", stdout)
	}
	closeIt := func(args ...string) {
		t.Helper()
		if code, _, stderr := adminRun(t, nil, "", append(append([]string{"connection", "close"}, args...), "--admin-socket", b.socket)...); code != exitOK {
			t.Fatalf("%d, %q", code, stderr)
		}
	}
	closeIt("127.0.0.1:1 -> 127.0.0.1:5672", "--reason", "moved away")
	if err := <-ended; !strings.Contains(err.Error(), "moved away") {
		t.Errorf("ended with %v", err)
	}
	closeIt("--all-of", "adm")
	if len(ended) != 2 {
		t.Errorf("%d connections are asked to end, want 2", len(ended))
	}
	b.play(t, []adminStep{
		{"", "connection close nothing", "there is no connection 'nothing'", true},
		{"", "connection close", "name connections", true},
		{"", "connection close a --all-of b", "name connections", true},
		{"", "connection list --vhost nope", "vhost 'nope' does not exist", true},
	})
}

func TestAdmin_Alarms(t *testing.T) {
	b := startAdminBroker(t)
	b.play(t, []adminStep{
		{"", "alarm", "RESOURCE ALARM NOW WATERMARK memory off 3.0 MiB used above 100.0 MiB disk off 5.0 GiB free below 512.0 MiB", false},
		{"", "alarm set-memory 1MiB", "the memory watermark is 1MiB", false},
		{"", "alarm", "RESOURCE ALARM NOW WATERMARK memory on 3.0 MiB used above 1.0 MiB disk off 5.0 GiB free below 512.0 MiB", false},
		{"", "alarm set-memory much", "is neither default nor a size", true},
		{"", "alarm set-memory default", "the memory watermark is default", false},
		{"", "alarm --json", `{ "memory": { "alarm": false, "used": 3145728, "watermark": 104857600, "limit": 209715200 }, "disk": { "alarm": false, "free": 5368709120, "watermark": 536870912 } }`, false},
	})
	if got := b.Alarms(); got != (core.Alarms{}) {
		t.Errorf("alarms %+v", got)
	}
}

// What keeps a command from its broker is said in a sentence, and in the exit code.
func TestAdmin_Errors(t *testing.T) {
	b := startAdminBroker(t)
	must := func(_ bool, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	plain := core.User{Name: "plain", Tags: []string{"management"}, MaxConnections: -1, MaxChannels: -1}
	if err := auth.SetPassword(&plain, "pw"); err != nil {
		t.Fatal(err)
	}
	must(b.Access().PutUser(t.Context(), plain))
	empty := t.TempDir()
	for _, tt := range []struct {
		name, stdin string
		env         []string
		args        []string
		code        exitCode
		want        string
	}{
		{"over the port", "adm-pw\n", nil, []string{"user", "list", "--url", b.url, "--user", "adm"}, exitOK, ""},
		{"over the port, password in the environment", "", []string{"BATON_ADMIN_PASSWORD=adm-pw"}, []string{"user", "list", "--url", b.url + "/", "--user", "adm"}, exitOK, ""},
		{"two passwords on standard input", "adm-pw\nnew\n", nil, []string{"user", "add", "n", "--url", b.url, "--user", "adm"}, exitOK, ""},
		{"a wrong password", "x\n", nil, []string{"user", "list", "--url", b.url, "--user", "adm"}, exitFailure, "refuses the login of user 'adm'"},
		{"not permitted", "pw\n", nil, []string{"user", "list", "--url", b.url, "--user", "plain"}, exitFailure, "not permitted: Not administrator user"},
		{"no user", "", nil, []string{"user", "list", "--url", b.url}, exitUsage, "--url needs --user"},
		{"a password in the URL", "", nil, []string{"user", "list", "--url", "http://adm:adm-pw@127.0.0.1:1"}, exitUsage, "--url has a user in it"},
		{"no URL", "", nil, []string{"user", "list", "--url", "127.0.0.1:15672", "--user", "adm"}, exitUsage, "--url is not"},
		{"nobody on the port", "x\n", nil, []string{"user", "list", "--url", "http://127.0.0.1:1", "--user", "adm"}, exitFailure, "no broker answers on 127.0.0.1:1"},
		{"nobody on the socket", "", nil, []string{"user", "list", "--admin-socket", filepath.Join(empty, "x")}, exitFailure, "no broker answers on the admin socket " + filepath.Join(empty, "x")},
		{"the socket is off", "", []string{"BATON_ADMIN_SOCKET=off"}, []string{"user", "list"}, exitUsage, "the admin socket is off"},
		{"the socket of the environment", "", []string{"BATON_ADMIN_SOCKET=" + b.socket}, []string{"user", "list"}, exitOK, ""},
		{"an unknown command", "", nil, []string{"user", "list", "extra", "--admin-socket", b.socket}, exitFailure, "extra"},
	} {
		code, _, stderr := adminRun(t, tt.env, tt.stdin, tt.args...)
		if code != tt.code || !strings.Contains(stderr, tt.want) || strings.Contains(stderr, "adm-pw") {
			t.Errorf("%s: %d, %q; want %d, %q", tt.name, code, stderr, tt.code, tt.want)
		}
	}

	b.health.Set(admin.State{Role: admin.RoleStandby, Standby: &admin.Standby{Primary: "node-b", Addresses: []string{"amqp://b:5672"}}})
	b.play(t, []adminStep{{"", "user list", "this node is a standby; the primary is node-b at amqp://b:5672", true}})
}

func TestAdminSocket_IsFound(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("directories have no owner in their mode here")
	}
	b := startAdminBroker(t)
	dir := filepath.Dir(b.socket)
	if err := os.Mkdir(filepath.Join(dir, "baton"), 0o700); err != nil {
		t.Fatal(err)
	}
	env := []string{"XDG_RUNTIME_DIR=" + dir}
	long := strings.Repeat("n", 80)
	name := func(node string) string { return filepath.Base(adminSocket(node, dir, env)) }
	if a, c := name("a"), name("c"); a == c || !strings.HasPrefix(a, "a-") || adminSocket("a", dir, env) == adminSocket("a", t.TempDir(), env) {
		t.Errorf("names of sockets: %s, %s", a, c)
	}
	if got := len(name(long)); got > 40 {
		t.Errorf("the name of a long node's socket has %d bytes", got)
	}
	serve := func(node string) (stop func()) {
		s, err := admin.Start(t.Context(), admin.Options{Health: b.health, Socket: filepath.Join(dir, "baton", name(node))})
		if err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	dirs := []string{filepath.Join(dir, "none"), filepath.Join(dir, "baton")}
	look := func(node string) []string {
		found := answeringSockets(t.Context(), node, dirs)
		for i := range found {
			found[i], _ = nodeOf(filepath.Base(found[i]))
		}
		slices.Sort(found)
		return found
	}
	stopA, stopB := serve("a"), serve("a-b")
	defer stopB()
	stopLong := serve(long)
	for node, want := range map[string]string{"": "a,a-b," + long[:socketNode], "a": "a", "a-b": "a-b", "b": "", long: long[:socketNode]} {
		if got := strings.Join(look(node), ","); got != want {
			t.Errorf("sockets of %q: %s, want %s", node, got, want)
		}
	}
	stopA()
	stopLong()
	// One that nobody answers on, and a directory of anybody's, are passed over.
	if err := os.WriteFile(filepath.Join(dir, "baton", name("dead")), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(look(""), ","); got != "a-b" {
		t.Errorf("sockets that answer: %s", got)
	}
	if err := os.Chmod(filepath.Join(dir, "baton"), 0o777); err != nil {
		t.Fatal(err)
	}
	if got := look(""); got != nil {
		t.Errorf("in a directory of anybody's: %s", got)
	}
}
