// Command field-shapes prints, as JSON, how the fields of Kubernetes' built-in kinds are owned by their managers: what the embedded API
// server needs for server-side apply and managedFields. It reads the OpenAPI documents in the folder that it is given
// (api/openapi-spec/v3 of k8s.io/kubernetes).
//
// {"kinds": {"v1/Pod": "core.v1.Pod", …}, "types": {"core.v1.PodSpec": {"containers": ["k!", "core.v1.Container", "name"], …}, …}}
//
// Fields that are owned as a whole are left out. The others are: ["t", type] an object of fields; ["m"] or ["m", type] a map by string;
// ["s"] a set of plain values; ["k", type, key…] a list whose elements are told apart by keys; ["v!"] a plain value. With "!", objects in
// Go have the field always, if only as its zero value.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// versions that are read.
var versions = []string{"v1", "v2"}

type schema struct {
	Ref        string            `json:"$ref"`
	AllOf      []schema          `json:"allOf"`
	Type       string            `json:"type"`
	Default    any               `json:"default"`
	Required   []string          `json:"required"`
	Properties map[string]schema `json:"properties"`
	Additional *schema           `json:"additionalProperties"`
	Items      *schema           `json:"items"`
	ListType   string            `json:"x-kubernetes-list-type"`
	ListKeys   []string          `json:"x-kubernetes-list-map-keys"`
	MapType    string            `json:"x-kubernetes-map-type"`
	Kinds      []struct {
		Group   string `json:"group"`
		Version string `json:"version"`
		Kind    string `json:"kind"`
	} `json:"x-kubernetes-group-version-kind"`
}

type document struct {
	all   map[string]schema
	Kinds map[string]string              `json:"kinds"`
	Types map[string]map[string][]string `json:"types"`
}

func main() {
	out := document{map[string]schema{}, map[string]string{}, map[string]map[string][]string{}}
	files, err := filepath.Glob(filepath.Join(os.Args[1], "*.json"))
	check(err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		check(err)
		var read struct {
			Components struct {
				Schemas map[string]schema `json:"schemas"`
			} `json:"components"`
		}
		check(json.Unmarshal(text, &read))
		for name, schema := range read.Components.Schemas {
			out.all[name] = schema
		}
	}
	for name, schema := range out.all {
		for _, kind := range schema.Kinds {
			isRequest := strings.HasSuffix(kind.Kind, "Options") || kind.Kind == "WatchEvent" || kind.Kind == "Status"
			if slices.Contains(versions, kind.Version) && !strings.HasSuffix(kind.Kind, "List") && !isRequest {
				version := strings.TrimPrefix(kind.Group+"/"+kind.Version, "/")
				out.Kinds[version+"/"+kind.Kind] = out.named(name)
			}
		}
	}
	text, err := json.Marshal(out)
	check(err)
	// One type on each line, so that a change can be read.
	lines := strings.NewReplacer(`]},"`, "]},\n\"", `{},"`, "{},\n\"", `,"types":{`, ",\n\"types\":{\n", `{"kinds":{`, "{\"kinds\":{\n").Replace(string(text))
	fmt.Fprintln(os.Stdout, lines)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// named adds a type and returns its short name.
func (d document) named(name string) string {
	short := strings.TrimPrefix(name, "io.k8s.")
	short = strings.TrimPrefix(short, "api.")
	short = strings.TrimPrefix(short, "apimachinery.pkg.apis.")
	if _, after, found := strings.Cut(short, "pkg.apis."); found {
		short = after
	}
	if _, found := d.Types[short]; found {
		return short
	}
	d.Types[short] = map[string][]string{}
	of := d.all[name]
	fields := map[string][]string{}
	for key, field := range of.Properties {
		if shape := d.shape(field, slices.Contains(of.Required, key)); shape != nil {
			fields[key] = shape
		}
	}
	d.Types[short] = fields
	return short
}

// shape of a field, or nil if it is owned as a whole.
func (d document) shape(field schema, required bool) []string {
	if len(field.AllOf) == 1 {
		inner := field.AllOf[0]
		inner.MapType, inner.Default = field.MapType, field.Default
		field = inner
	}
	isStruct := false
	if empty, found := field.Default.(map[string]any); found && len(empty) == 0 {
		isStruct = true
	}
	sign := ""
	if isStruct || required {
		sign = "!"
	}
	if field.Ref != "" {
		name := field.Ref[strings.LastIndex(field.Ref, "/")+1:]
		of := d.all[name]
		if of.MapType == "atomic" || field.MapType == "atomic" || of.Type != "object" || len(of.Properties) == 0 {
			return nil
		}
		// A pointer that is required is not there in a zero value.
		if !isStruct {
			sign = ""
		}
		return []string{"t" + sign, d.named(name)}
	}
	switch {
	case field.Type == "object" && field.Additional != nil && field.MapType != "atomic":
		if element := d.shape(*field.Additional, false); element != nil {
			return append([]string{"m" + sign}, element[1:]...)
		}
		return []string{"m" + sign}
	case field.Type == "array" && field.ListType == "set":
		return []string{"s" + sign}
	case field.Type == "array" && field.ListType == "map":
		element := d.shape(*field.Items, false)
		if element == nil {
			element = []string{"t", ""}
		}
		return append([]string{"k" + sign, element[1]}, field.ListKeys...)
	case required && field.Type != "array" && field.Type != "object" && field.Type != "":
		return []string{"v!"}
	}
	return nil
}
