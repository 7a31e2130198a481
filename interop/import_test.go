package interop

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	paho3 "github.com/eclipse/paho.mqtt.golang"
)

// Mosquitto's files, as mosquitto_passwd 2.0.11 writes them: the passwords are "secret"
// and "geh eim".
const (
	mosquittoPasswords = `joe:$7$101$9cdrGEm0ePkMf3w1$xSA69JKwrDc61jq0M3hkLlordbR8zN8xowotjVjQA68wgE+TIiogVM1+ZQvqiKeUlSZWYQSZasgMNWq+rncX1w==
ann:$6$64AKBCUHT6Y/VeYp$bfICIpmizPCW3jaURNUkWRnBAQIrDTN2bSPe9OOCD+iKDGaQ2WFIif5ld8RPdpucacZB73052qg1yMuHmHSH2w==
`
	mosquittoACL = `user ann
topic read devices/#
topic deny devices/secret/#
pattern readwrite devices/%c/#
`
)

// TestImportMosquitto: clients log in with the passwords that they have had, and may
// use the topics that they might.
func TestImportMosquitto(t *testing.T) {
	t.Parallel()
	b, log := ownBroker(t)
	withSocket(t, b)
	start(t, b, log)
	dir := t.TempDir()
	passwords, acl := filepath.Join(dir, "passwords"), filepath.Join(dir, "acl")
	must(t, os.WriteFile(passwords, []byte(mosquittoPasswords), 0o600))
	must(t, os.WriteFile(acl, []byte(mosquittoACL), 0o600))
	baton(t, b, "import", "mosquitto", "--passwords", passwords, "--acl", acl, "--admin-socket", socketOf(b))

	lost := make(chan error, 3)
	connect := func(user, password, id string) (paho3.Client, error) {
		opt := paho3.NewClientOptions().AddBroker(b.MQTTURL()).SetUsername(user).SetPassword(password).SetClientID(id).
			SetAutoReconnect(false).SetCleanSession(false).SetConnectTimeout(patience).
			SetConnectionLostHandler(func(_ paho3.Client, err error) { lost <- err })
		c := paho3.NewClient(opt)
		t.Cleanup(func() { c.Disconnect(0) })
		token := c.Connect()
		if !token.WaitTimeout(patience) {
			t.Fatalf("%s does not connect within %s", user, patience)
		}
		return c, token.Error()
	}
	if _, err := connect("joe", "geh eim", "x"); err == nil {
		t.Error("joe is let in with ann's password")
	}
	joe, err := connect("joe", "secret", "d.1")
	must(t, err)
	ann, err := connect("ann", "geh eim", "desk")
	must(t, err)

	got := make(chan string, 1)
	var codes []byte
	for _, filter := range []string{"devices/d.1/#", "devices/+/up", "devices/secret/up", "other"} {
		token := ann.Subscribe(filter, 1, func(_ paho3.Client, m paho3.Message) { got <- m.Topic() })
		if !token.WaitTimeout(patience) {
			t.Fatal("no SUBACK")
		}
		codes = append(codes, token.(*paho3.SubscribeToken).Result()[filter])
	}
	if want := []byte{1, 0x80, 0x80, 0x80}; !slices.Equal(codes, want) {
		t.Errorf("ann's subscriptions are answered with %x, want %x", codes, want)
	}
	waitToken(t, joe.Publish("devices/d.1/up", 1, false, "m"))
	if topic := within(t, "the message", got); topic != "devices/d.1/up" {
		t.Errorf("ann got %s", topic)
	}
	joe.Publish("devices/desk/up", 1, false, "m")
	_ = within(t, "the end of who publishes to another's topic", lost)
}
