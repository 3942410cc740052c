// Reads YAML and JSON as kubectl does, with its own decoder: each text of standard input that a zero byte ends becomes a
// line of JSON, the list of its documents or {"error": ...}.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/util/yaml"
)

func documents(text []byte) (any, error) {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	found := []json.RawMessage{}
	for {
		var one json.RawMessage
		if err := decoder.Decode(&one); err == io.EOF {
			return found, nil
		} else if err != nil {
			return nil, err
		}
		if len(one) > 0 && string(one) != "null" {
			found = append(found, one)
		}
	}
}

func main() {
	input := bufio.NewReader(os.Stdin)
	for {
		text, err := input.ReadBytes(0)
		if err != nil {
			return
		}
		value, err := documents(text[:len(text)-1])
		if err != nil {
			value = map[string]string{"error": err.Error()}
		}
		line, err := json.Marshal(value)
		if err != nil {
			line = []byte(`{"error": "not JSON"}`)
		}
		fmt.Println(string(line))
	}
}
