// Command openapi-enums prints, as JSON, which fields of Kubernetes' built-in kinds take one of a few values, and what its OpenAPI documents say
// of these: the schemas that the embedded API server has by itself leave it out.
//
// {"io.k8s.api.core.v1.Container": {"imagePullPolicy": {"values": ["Always", …], "text": "\n\nPossible enum values: …"}, …}, …}
//
// Of lists it is the elements' values.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kubernetes/pkg/generated/openapi"
)

type field struct {
	Values []any  `json:"values"`
	Text   string `json:"text"`
}

// told is where a description begins to tell of the values.
const told = "\n\nPossible enum values:"

func main() {
	types := map[string]map[string]field{}
	reference := func(path string) spec.Ref { return spec.MustCreateRef("#/" + path) }
	for name, definition := range openapi.GetOpenAPIDefinitions(reference) {
		for property, schema := range definition.Schema.Properties {
			values := schema.Enum
			if schema.Items != nil && schema.Items.Schema != nil {
				values = schema.Items.Schema.Enum
			}
			// Versions that are not served by default are left out.
			if len(values) == 0 || strings.Contains(name, "alpha") || strings.Contains(name, "beta") {
				continue
			}
			if types[name] == nil {
				types[name] = map[string]field{}
			}
			_, text, found := strings.Cut(schema.Description, told)
			if found {
				text = told + text
			}
			types[name][property] = field{values, text}
		}
	}
	text, err := json.Marshal(types)
	if err != nil {
		panic(err)
	}
	// One type on each line, so that a change can be read.
	fmt.Fprintln(os.Stdout, strings.ReplaceAll(string(text), `}},"io.`, "}},\n\"io."))
}
