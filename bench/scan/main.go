// The least that a compiled linter does: walks a folder, splits its YAML into documents, decodes each as kubectl does
// (sigs.k8s.io/yaml) and prints every container whose root filesystem is not read-only. No positions, no other rule.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"sigs.k8s.io/yaml"
)

var lists = []string{"initContainers", "containers", "ephemeralContainers"}

func find(value any, write func(container map[string]any)) {
	switch node := value.(type) {
	case map[string]any:
		for _, list := range lists {
			if items, ok := node[list].([]any); ok {
				for _, item := range items {
					if container, ok := item.(map[string]any); ok {
						context, _ := container["securityContext"].(map[string]any)
						if context["readOnlyRootFilesystem"] != true {
							write(container)
						}
					}
				}
			}
		}
		for _, item := range node {
			find(item, write)
		}
	case []any:
		for _, item := range node {
			find(item, write)
		}
	}
}

func scan(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error() + "\n"
	}
	var found strings.Builder
	for _, document := range bytes.Split(data, []byte("\n---")) {
		var value any
		if err := yaml.Unmarshal(document, &value); err != nil {
			fmt.Fprintf(&found, "%s: %v\n", path, err)
			continue
		}
		find(value, func(container map[string]any) {
			fmt.Fprintf(&found, "%s: container %v can write to its root filesystem\n", path, container["name"])
		})
	}
	return found.String()
}

func main() {
	var paths []string
	filepath.WalkDir(os.Args[1], func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && (strings.HasSuffix(path, ".yaml") || strings.HasSuffix(path, ".yml")) {
			paths = append(paths, path)
		}
		return nil
	})
	results := make([]string, len(paths))
	next := make(chan int, len(paths))
	for number := range paths {
		next <- number
	}
	close(next)
	var work sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		work.Add(1)
		go func() {
			defer work.Done()
			for number := range next {
				results[number] = scan(paths[number])
			}
		}()
	}
	work.Wait()
	output := bufio.NewWriter(os.Stdout)
	defer output.Flush()
	for _, result := range results {
		output.WriteString(result)
	}
}
