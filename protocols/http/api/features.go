package api

import "slices"

// A featureFlag is what RabbitMQ's clusters agree on while they are upgraded. Brokers
// of one directory serve one at a time and have no such thing; clients that ask are
// told of what they look for, and that it is there.
type featureFlag struct {
	Name       string `json:"name"`
	Desc       string `json:"desc"`
	DocURL     string `json:"doc_url"`
	State      string `json:"state"`
	Stability  string `json:"stability"`
	ProvidedBy string `json:"provided_by"`
}

// featureFlags are RabbitMQ's names of what this broker can do, too.
func featureFlags() []featureFlag {
	all := []featureFlag{
		{Name: "drop_unroutable_metric", Desc: "Messages that reach no queue are counted"},
		{Name: "empty_basic_get_metric", Desc: "basic.get of an empty queue is counted"},
		{Name: "implicit_default_bindings", Desc: "Bindings to the default exchange are not stored"},
		{Name: "mqtt_v5", Desc: "MQTT 5.0"},
		{Name: "quorum_queue", Desc: "Queues of the type quorum"},
		{Name: "rabbit_mqtt_qos0_queue", Desc: "Messages of QoS 0 are not stored for MQTT subscribers"},
		{Name: "user_limits", Desc: "Limits of a user's connections and channels"},
		{Name: "virtual_host_metadata", Desc: "Description and tags of virtual hosts"},
	}
	for i := range all {
		all[i].State, all[i].Stability, all[i].ProvidedBy = "enabled", "stable", "baton"
	}
	return all
}

func listFeatureFlags(*call) (any, error) {
	l := list{}
	for _, f := range featureFlags() {
		l = append(l, f)
	}
	return l, nil
}

// enableFeatureFlag promises what is so already.
func enableFeatureFlag(c *call) (any, error) {
	if !slices.ContainsFunc(featureFlags(), func(f featureFlag) bool { return f.Name == c.names["flag"] }) {
		return nil, badRequest("unsupported")
	}
	return done, nil
}

// listDeprecatedFeatures returns none: nothing that is here is about to go.
func listDeprecatedFeatures(*call) (any, error) { return list{}, nil }
