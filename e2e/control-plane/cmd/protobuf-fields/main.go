// Command protobuf-fields prints, as JSON, how Kubernetes' built-in kinds are written in protobuf: what the embedded API server needs to
// read such bodies. It goes by the tags of the Go types.
//
// {"kinds": {"v1/Pod": "core/v1.Pod", …}, "types": {"core/v1.Pod": [[number, name, kind, flags], …], …}}
//
// A kind is bool, int, float, string, bytes, time, micro-time, quantity, int-or-string, raw, duration, or the name of a type; it follows "map " for
// the values of maps by string and "items " for messages that hold nothing but a list. Flags are letters: l a list, i inlined into the
// JSON of its parent, z left out of JSON where it is zero.
//
// With the name of a YAML file it prints instead what Kubernetes itself makes of the objects in it, for tests: a list of
// {"protobuf": base64, "object": JSON}.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
)

// groups that are read; "meta.k8s.io" has the options of requests.
var groups = map[string]bool{
	"": true, "apps": true, "batch": true, "policy": true, "coordination.k8s.io": true, "rbac.authorization.k8s.io": true,
	"storage.k8s.io": true, "scheduling.k8s.io": true, "networking.k8s.io": true, "discovery.k8s.io": true, "events.k8s.io": true,
	"node.k8s.io": true, "autoscaling": true, "authentication.k8s.io": true, "authorization.k8s.io": true,
	"admissionregistration.k8s.io": true, "meta.k8s.io": true,
}

type document struct {
	Kinds map[string]string  `json:"kinds"`
	Types map[string][][]any `json:"types"`
}

func main() {
	if len(os.Args) == 2 {
		samples(os.Args[1])
		return
	}
	out := document{Kinds: map[string]string{}, Types: map[string][][]any{}}
	for version, kind := range scheme.Scheme.AllKnownTypes() {
		isRequest := strings.HasSuffix(version.Kind, "Options") && version.Kind != "DeleteOptions" || version.Kind == "WatchEvent"
		isServed := version.Version == "v1" || version.Group == "autoscaling" && version.Version == "v2"
		if groups[version.Group] && isServed && !strings.HasSuffix(version.Kind, "List") && !isRequest {
			out.Kinds[version.GroupVersion().String()+"/"+version.Kind] = out.message(kind)
		}
	}
	text, err := json.Marshal(out)
	if err != nil {
		panic(err)
	}
	// One type on each line, so that a change can be read.
	lines := strings.NewReplacer(`]],"`, "]],\n\"", `,"types":{`, ",\n\"types\":{\n", `{"kinds":{`, "{\"kinds\":{\n").Replace(string(text))
	fmt.Fprintln(os.Stdout, lines)
}

func samples(file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	type sample struct {
		Protobuf []byte         `json:"protobuf"`
		Object   runtime.Object `json:"object"`
	}
	all := []sample{}
	encoder := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)
	for _, document := range strings.Split(string(text), "\n---\n") {
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(document), nil, nil)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		body := bytes.Buffer{}
		if err := encoder.Encode(object, &body); err != nil {
			panic(err)
		}
		all = append(all, sample{body.Bytes(), object})
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", " ")
	if err := out.Encode(all); err != nil {
		panic(err)
	}
}

// special types have a form of their own in JSON.
var special = map[string]string{
	"meta/v1.Time": "time", "meta/v1.MicroTime": "micro-time", "meta/v1.Duration": "duration", "meta/v1.FieldsV1": "raw",
	"api/resource.Quantity": "quantity", "util/intstr.IntOrString": "int-or-string", "pkg/runtime.RawExtension": "raw",
}

func name(of reflect.Type) string {
	parts := strings.Split(of.PkgPath(), "/")
	return parts[len(parts)-2] + "/" + parts[len(parts)-1] + "." + of.Name()
}

func (d document) message(of reflect.Type) string {
	id := name(of)
	if kind, found := special[id]; found {
		return kind
	}
	if _, found := d.Types[id]; found {
		return id
	}
	d.Types[id] = [][]any{}
	fields := [][]any{}
	for index := range of.NumField() {
		field := of.Field(index)
		tag := strings.Split(field.Tag.Get("protobuf"), ",")
		json := strings.Split(field.Tag.Get("json"), ",")
		if len(tag) < 2 {
			// The type's own apiVersion and kind are in the envelope.
			continue
		}
		number, err := strconv.Atoi(tag[1])
		if err != nil {
			panic(err)
		}
		of, flags := field.Type, ""
		if of.Kind() != reflect.Pointer && len(json) > 1 && (json[1] == "omitempty" || json[1] == "omitzero") {
			flags += "z"
		}
		if len(json) > 1 && json[1] == "inline" {
			flags += "i"
		}
		if of.Kind() == reflect.Slice && of.Elem().Kind() != reflect.Uint8 {
			of, flags = of.Elem(), flags+"l"
		}
		fields = append(fields, []any{number, json[0], d.kind(of), flags})
	}
	d.Types[id] = fields
	return id
}

func (d document) kind(of reflect.Type) string {
	switch of.Kind() {
	case reflect.Pointer:
		return d.kind(of.Elem())
	case reflect.Bool:
		return "bool"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "int"
	case reflect.Float32, reflect.Float64:
		return "float"
	case reflect.String:
		return "string"
	case reflect.Map:
		return "map " + d.kind(of.Elem())
	case reflect.Slice:
		if of.Elem().Kind() == reflect.Uint8 {
			return "bytes"
		}
		return "items " + d.kind(of.Elem())
	case reflect.Struct:
		return d.message(of)
	}
	panic("a field of type " + of.String())
}
