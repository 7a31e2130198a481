package main

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/batonmq/baton/protocols/mqtt/remote"
)

// A leaf is a scalar or a sequence of scalars of a YAML file, with its path.
type leaf struct {
	file  string
	line  int
	key   string // parts joined with dots
	texts []string
}

func (l leaf) errorf(format string, args ...any) error {
	return fmt.Errorf("%s:%d: %w", l.file, l.line, fmt.Errorf(format, args...))
}

// parseYAML flattens a file of nested mappings. It keeps the texts as they are
// written, so that a value means the same as in a variable or a flag, and it
// refuses what configuration has no use for (anchors, aliases, tags, several
// documents).
func parseYAML(file string, content []byte) ([]leaf, error) {
	tree, err := parser.ParseBytes(content, 0)
	if err != nil {
		return nil, yamlError(file, err)
	}
	w := &yamlWalk{file: file}
	seen := false
	for _, doc := range tree.Docs {
		if doc.Body == nil {
			continue // nothing but comments
		}
		if seen {
			return nil, w.at(doc.Body.GetToken(), "").errorf("a second document")
		}
		seen = true
		if err := w.mapping("", doc.Body); err != nil {
			return nil, err
		}
	}
	return w.leaves, nil
}

// yamlError keeps the first line of a parser's error, which is followed by an
// excerpt of the file that may hold a secret.
func yamlError(file string, err error) error {
	if e, ok := err.(yaml.Error); ok { //nolint:errorlint // the parser's own interface, not wrapped
		return (&yamlWalk{file: file}).at(e.GetToken(), "").errorf("%s", unquoted(e.GetMessage()))
	}
	return fmt.Errorf("%s: not YAML", file)
}

// unquoted is the first line of a parser's message without the text that it quotes behind a colon: a password that begins with > or | is
// taken for the header of a block.
func unquoted(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	line, _, _ = strings.Cut(line, `: "`)
	return line
}

// yamlWalk collects leaves.
type yamlWalk struct {
	file   string
	leaves []leaf
}

func (w *yamlWalk) at(tk *token.Token, key string) leaf {
	l := leaf{file: w.file, key: key}
	if tk != nil && tk.Position != nil {
		l.line = tk.Position.Line
	}
	return l
}

// mapping walks the pairs of a node that must be a mapping; path is its key.
func (w *yamlWalk) mapping(path string, node ast.Node) error {
	m, ok := node.(ast.MapNode)
	if !ok {
		return w.at(node.GetToken(), path).errorf("keys and values are expected here")
	}
	for it := m.MapRange(); it.Next(); {
		name, ok := it.Key().(*ast.StringNode)
		if !ok {
			return w.at(it.Key().GetToken(), path).errorf("a key must be a plain name")
		}
		if !isName(name.Value) && (path != bridgesKey || !remote.IsName(name.Value)) {
			return w.at(name.GetToken(), path).errorf("unknown key %q", name.Value)
		}
		key := name.Value
		if path != "" {
			key = path + "." + key
		}
		l := w.at(name.GetToken(), key)
		if _, ok := it.Value().(ast.MapNode); ok {
			if err := w.mapping(key, it.Value()); err != nil {
				return err
			}
			continue
		}
		texts, err := w.texts(l, it.Value())
		if err != nil {
			return err
		}
		l.texts = texts
		w.leaves = append(w.leaves, l)
	}
	return nil
}

// isName reports what can be a part of a setting's key.
func isName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') })
}

// texts returns a scalar's text, or those of a sequence of scalars.
func (w *yamlWalk) texts(l leaf, node ast.Node) ([]string, error) {
	seq, ok := node.(*ast.SequenceNode)
	if !ok {
		text, ok := scalar(node)
		if !ok {
			return nil, l.errorf("%s: a value is expected here", l.key)
		}
		return []string{text}, nil
	}
	var texts []string
	for _, item := range seq.Values {
		text, ok := scalar(item)
		if !ok {
			return nil, w.at(item.GetToken(), l.key).errorf("%s: a list of plain values is expected here", l.key)
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// scalar returns a node's text as it is written. A value left out is none.
func scalar(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return strings.TrimSuffix(n.Value.Value, "\n"), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	}
	return "", false
}
