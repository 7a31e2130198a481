package interop

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// A container is what the files for container platforms say about one.
type container struct {
	name    string
	args    []string
	env     []string
	health  []string      // a command
	ready   string        // a path of the admin port
	every   time.Duration // between two looks at it
	restart bool
	grace   time.Duration
}

// deployContainer makes a node of a container: the program in place of the image's, with the image's entry point.
func deployContainer(t *testing.T, c *container, dir string) *deployed {
	t.Helper()
	notUnderRace(t)
	d, env := deployHere(t, c.name, dir)
	args := slices.Clone(c.args)
	for i, arg := range args {
		if arg == "/data" { // the volume
			args[i] = dir
		}
	}
	how := supervision{command: slices.Concat([]string{"/baton"}, args), restart: c.restart, after: 100 * time.Millisecond, stopLimit: c.grace}
	d.supervised = supervise(t, c.name, ownBinary(t, c.name), how, slices.Concat(c.env, env))
	return d
}

// readDocuments reads the YAML documents of a file.
func readDocuments[T any](t *testing.T, name string) (all []T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deploy, name))
	must(t, err)
	for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
		var one T
		must(t, yaml.Unmarshal(document, &one))
		all = append(all, one)
	}
	return all
}

// composeFile is what a test can act on in compose.yaml.
type composeFile struct {
	Services map[string]struct {
		Command     []string
		Environment map[string]string
		Restart     string
		StopGrace   string `yaml:"stop_grace_period"`
		Volumes     []string
		Healthcheck struct{ Test []string }
		Ports       []string
	}
	Volumes map[string]any
}

func composeContainers(t *testing.T) []*container {
	t.Helper()
	var all []*container
	file := readDocuments[composeFile](t, "compose/compose.yaml")[0]
	for name, s := range file.Services {
		grace, err := time.ParseDuration(s.StopGrace)
		must(t, err)
		c := &container{name: name, args: s.Command, restart: s.Restart == "always", grace: grace}
		for key, value := range s.Environment {
			if name, rest, isVariable := strings.Cut(strings.TrimPrefix(value, "${"), ":"); isVariable && strings.HasPrefix(value, "${") {
				value = map[string]string{"BATON_DEFAULT_USER": "guest", "BATON_DEFAULT_PASS": "guest"}[name]
				if value == "" {
					t.Errorf("no value for %s%s", name, rest)
				}
			}
			c.env = append(c.env, key+"="+value)
		}
		if test := s.Healthcheck.Test; len(test) < 2 || test[0] != "CMD" || test[1] != "/baton" {
			t.Errorf("the health check of %s is %q", name, test)
		} else {
			c.health = test[2:]
		}
		if !slices.Equal(s.Volumes, []string{"data:/data"}) || len(file.Volumes) != 1 {
			t.Errorf("the volumes of %s are %q", name, s.Volumes)
		}
		if !slices.Contains(c.env, "BATON_NODE="+name) {
			t.Errorf("the node of %s has another name: %q", name, c.env)
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *container) int { return strings.Compare(a.name, b.name) })
	return all
}

// manifest is what a test can act on in the manifests for Kubernetes.
type manifest struct {
	Kind string
	Spec struct {
		Replicas            int
		PodManagementPolicy string                `yaml:"podManagementPolicy"`
		UpdateStrategy      struct{ Type string } `yaml:"updateStrategy"`
		AccessModes         []string              `yaml:"accessModes"`
		Template            struct {
			Spec struct {
				Grace      int `yaml:"terminationGracePeriodSeconds"`
				Containers []struct {
					Args           []string
					Env            []podVariable
					ReadinessProbe podProbe `yaml:"readinessProbe"`
					LivenessProbe  podProbe `yaml:"livenessProbe"`
				}
			}
		}
	}
}

type podVariable struct {
	Name, Value string
	From        struct {
		Field struct {
			Path string `yaml:"fieldPath"`
		} `yaml:"fieldRef"`
		Secret struct{ Key string } `yaml:"secretKeyRef"`
	} `yaml:"valueFrom"`
}

type podProbe struct {
	Get           struct{ Path, Port string } `yaml:"httpGet"`
	PeriodSeconds int                         `yaml:"periodSeconds"`
}

func kubernetesContainers(t *testing.T) (all []*container) {
	t.Helper()
	for _, m := range readDocuments[manifest](t, "kubernetes/baton.yaml") {
		spec := &m.Spec
		switch m.Kind {
		case "PersistentVolumeClaim":
			if !slices.Equal(spec.AccessModes, []string{"ReadWriteMany"}) {
				t.Errorf("the volume is %q", spec.AccessModes)
			}
		case "StatefulSet":
			if spec.PodManagementPolicy != "Parallel" || spec.UpdateStrategy.Type != "OnDelete" {
				t.Errorf("pods are managed %s, and updated %s: they would wait for a standby to be ready", spec.PodManagementPolicy, spec.UpdateStrategy.Type)
			}
			pod := &spec.Template.Spec.Containers[0]
			if pod.LivenessProbe.Get.Path != "/livez" || pod.LivenessProbe.Get.Port != "admin" || pod.ReadinessProbe.Get.Port != "admin" {
				t.Errorf("probes %+v, %+v", pod.LivenessProbe, pod.ReadinessProbe)
			}
			for i := range spec.Replicas {
				c := &container{
					name: []string{"baton-0", "baton-1"}[i], args: pod.Args, restart: true, grace: time.Duration(spec.Template.Spec.Grace) * time.Second,
					ready: pod.ReadinessProbe.Get.Path, every: time.Duration(pod.ReadinessProbe.PeriodSeconds) * time.Second,
				}
				for _, v := range pod.Env {
					switch {
					case v.From.Field.Path == "metadata.name":
						v.Value = c.name
					case v.From.Secret.Key != "":
						v.Value = "guest"
					}
					c.env = append(c.env, v.Name+"="+v.Value)
				}
				all = append(all, c)
			}
		}
	}
	return all
}

// TestDeploy_TheComposeFile runs its containers' commands and health checks.
func TestDeploy_TheComposeFile(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	var nodes []*deployed
	containers := composeContainers(t)
	if len(containers) != 2 {
		t.Fatalf("%d services, want a pair", len(containers))
	}
	for _, c := range containers {
		d := deployContainer(t, c, dir)
		d.start()
		nodes = append(nodes, d)
	}
	// Both are healthy, the one that serves and the one that does not.
	for i, d := range nodes {
		untilSo(t, d.name+" to be healthy", time.Second, func() bool {
			cmd := exec.CommandContext(t.Context(), d.binary, containers[i].health...)
			cmd.Env = d.env
			return cmd.Run() == nil
		})
	}
	client := publishNumbers(t, nodes...)
	client.more(t, 50)
	primary, standby := tellApart(t, nodes, "/readyz", time.Second)
	awaitEligible(t, standby)
	primary.signal(syscall.SIGKILL)
	client.more(t, 50)
	now, _ := tellApart(t, nodes, "/readyz", time.Second)
	client.check(t, now)
}

// TestDeploy_TheStatefulSet has the probes of the manifests look at its containers' commands.
func TestDeploy_TheStatefulSet(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	var nodes []*deployed
	containers := kubernetesContainers(t)
	if len(containers) != 2 {
		t.Fatalf("%d pods, want a pair", len(containers))
	}
	if containers[0].every != time.Second {
		t.Errorf("readiness is looked at every %v, want every second", containers[0].every)
	}
	for _, c := range containers {
		d := deployContainer(t, c, dir)
		d.start() // all at once: Parallel
		nodes = append(nodes, d)
	}
	client := publishNumbers(t, nodes...)
	client.more(t, 50)
	primary, standby := tellApart(t, nodes, containers[0].ready, containers[0].every)
	awaitEligible(t, standby)
	if code := primary.stop(); code != 0 { // as for an eviction, or `kubectl delete pod`
		t.Errorf("exit code %d", code)
	}
	client.more(t, 50)
	primary.start()
	now, _ := tellApart(t, nodes, containers[0].ready, containers[0].every)
	client.check(t, now)
}

// tellApart waits until exactly one of a pair is ready, and tells it from the other.
func tellApart(t *testing.T, nodes []*deployed, path string, every time.Duration) (primary, standby *deployed) {
	t.Helper()
	untilSo(t, "one node to be ready, and the other live", every, func() bool {
		primary, standby = nil, nil
		for _, d := range nodes {
			switch ready := asks(t, d, path) == http.StatusOK; {
			case ready && primary != nil:
				t.Error("both nodes are ready")
			case ready:
				primary = d
			case asks(t, d, "/livez") == http.StatusOK:
				standby = d
			}
		}
		return primary != nil && standby != nil
	})
	return primary, standby
}

// awaitEligible waits until a standby would take over.
func awaitEligible(t *testing.T, d *deployed) {
	t.Helper()
	untilSo(t, d.name+" to be eligible", 50*time.Millisecond, func() bool {
		_, body := askNode(t, d, "/readyz")
		return strings.Contains(body, `"eligible":true`) && strings.Contains(body, `"caught_up":true`)
	})
}

// asks returns the code that the admin port answers, or 0.
func asks(t *testing.T, d *deployed, path string) int {
	t.Helper()
	code, _ := askNode(t, d, path)
	return code
}

// askNode asks the admin port as a probe does; the code is 0 if nobody answers.
func askNode(t *testing.T, d *deployed, path string) (code int, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.admin+path, http.NoBody)
	must(t, err)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, ""
	}
	return resp.StatusCode, string(text)
}

// untilSo asks again and again, as often as said, until it is so.
func untilSo(t *testing.T, what string, every time.Duration, so func() bool) {
	t.Helper()
	limit := time.NewTimer(3 * failoverPatience)
	defer limit.Stop()
	for !so() {
		select {
		case <-time.After(every):
		case <-limit.C:
			t.Fatalf("waited for %s in vain", what)
		}
	}
}
