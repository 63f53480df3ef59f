package scoreboard

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/weirproject/weir/stream/flow"
)

// flowMap reads a flow map's YAML: single selectors stand for lists of one, and
// objects keep their order.
func flowMap(text []byte) (*flow.Map, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("flow map: %w", err)
	}
	normalise(&doc)
	m := new(flow.Map)
	if err := doc.Decode(m); err != nil {
		return nil, fmt.Errorf("flow map: %w", err)
	}
	return m, nil
}

func normalise(n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		for _, c := range n.Content {
			normalise(c)
		}
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch key.Value {
		case "session", "device", "account", "secret", "opens", "closes":
			list(value)
		case "objects":
			objects := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
			for k := 0; k+1 < len(value.Content); k += 2 {
				list(value.Content[k+1])
				objects.Content = append(objects.Content, &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{
					text("name"), value.Content[k], text("selectors"), value.Content[k+1],
				}})
			}
			n.Content[i+1] = objects
		default:
			normalise(value)
		}
	}
}

func text(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }

func list(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode {
		one := *n
		*n = yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: []*yaml.Node{&one}}
	}
}
