package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	defaultPageSize = 100
	maxPageSize     = 500
	maxPattern      = 1000 // bytes of a name's pattern
)

// A list is an answer that the query may filter, sort and cut into pages.
type list []any

// A page is what RabbitMQ answers where a page was asked for.
type page struct {
	FilteredCount int  `json:"filtered_count"`
	ItemCount     int  `json:"item_count"`
	Items         list `json:"items"`
	Page          int  `json:"page"`
	PageCount     int  `json:"page_count"`
	PageSize      int  `json:"page_size"`
	TotalCount    int  `json:"total_count"`
}

// An item of a list is put together when it is known to be in the answer.
type item interface {
	name() string    // what the query's name is compared with
	row(c *call) any // nil: it is gone meanwhile
}

// shape does with an answer what the query says: name and use_regex filter, sort
// and sort_reverse order, page and page_size cut, columns reduce. As in RabbitMQ,
// a name filters pages only.
func (c *call) shape(result any) (any, error) {
	q := c.query
	columns := splitPaths(q.Get("columns"))
	items, ok := result.(list)
	if !ok {
		if _, other := result.(verdict); other || len(columns) == 0 {
			return result, nil
		}
		m, err := generic(result)
		return pick(m, columns), err
	}
	p := page{TotalCount: len(items)}
	var err error
	paging := q.Has("page")
	if paging {
		if items, err = named(q, items); err != nil {
			return nil, err
		}
	}
	if by := q.Get("sort"); by != "" {
		if items, err = c.sorted(items, strings.Split(by, "."), q.Get("sort_reverse") == "true"); err != nil {
			return nil, err
		}
	}
	p.FilteredCount = len(items)
	if paging {
		if items, err = p.cut(q, items); err != nil {
			return nil, err
		}
	}
	if p.Items, err = c.rows(items, columns); err != nil || !paging {
		return p.Items, err
	}
	p.ItemCount = len(p.Items)
	return p, nil
}

// rows puts items together, reduced to columns if there are any.
func (c *call) rows(items list, columns [][]string) (list, error) {
	rows := make(list, 0, len(items))
	for _, v := range items {
		if i, ok := v.(item); ok {
			v = i.row(c)
		}
		switch {
		case v == nil:
		case len(columns) == 0:
			rows = append(rows, v)
		default:
			m, err := generic(v)
			if err != nil {
				return nil, err
			}
			rows = append(rows, pick(m, columns))
		}
	}
	return rows, nil
}

// cut returns the rows of the page that is asked for, and describes it.
func (p *page) cut(q url.Values, rows list) (list, error) {
	p.PageSize = defaultPageSize
	var err error
	if p.Page, err = strconv.Atoi(q.Get("page")); err == nil && q.Has("page_size") {
		p.PageSize, err = strconv.Atoi(q.Get("page_size"))
	}
	if err != nil {
		return nil, badRequest("Pagination parameters are invalid")
	}
	if p.Page < 1 || p.PageSize < 1 || p.PageSize > maxPageSize {
		return nil, &problem{
			400, "invalid_pagination_parameters",
			fmt.Sprintf("Invalid pagination parameters: page number %d, page size %d", p.Page, p.PageSize),
		}
	}
	p.PageCount = (len(rows) + p.PageSize - 1) / p.PageSize
	if p.Page > max(p.PageCount, 1) {
		return nil, &problem{
			400, "page_out_of_range",
			fmt.Sprintf("Page out of range, page: %d page size: %d, len: %d", p.Page, p.PageSize, len(rows)),
		}
	}
	from := (p.Page - 1) * p.PageSize
	return rows[from:min(from+p.PageSize, len(rows))], nil
}

// named keeps the items whose name has a text in it, or a match of an expression;
// upper and lower case are the same, as in RabbitMQ.
func named(q url.Values, items list) (list, error) {
	want := q.Get("name")
	if want == "" {
		return items, nil
	}
	if len(want) > maxPattern {
		return nil, badRequest("the name is longer than %d bytes", maxPattern)
	}
	if q.Get("use_regex") != "true" {
		want = regexp.QuoteMeta(want)
	} else if _, err := regexp.Compile(want); err != nil { // before anything is added to it
		return nil, badRequest("the name is not a regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	re, err := regexp.Compile("(?i:" + want + ")")
	if err != nil {
		return nil, badRequest("the name is not a regular expression of a possible size")
	}
	var kept list
	for _, v := range items {
		name, err := nameOf(v)
		if err != nil {
			return nil, err
		}
		if re.MatchString(name) {
			kept = append(kept, v)
		}
	}
	return kept, nil
}

func nameOf(v any) (string, error) {
	if i, ok := v.(item); ok {
		return i.name(), nil
	}
	m, err := generic(v)
	name, _ := m["name"].(string)
	return name, err
}

// sorted returns items in the order of a value of theirs.
func (c *call) sorted(items list, path []string, reverse bool) (list, error) {
	type keyed struct{ item, key any }
	rows := make([]keyed, 0, len(items))
	for _, v := range items {
		r := keyed{item: v}
		if i, ok := v.(item); ok {
			if slices.Equal(path, []string{"name"}) {
				r.key = i.name()
				rows = append(rows, r)
				continue
			}
			if v = i.row(c); v == nil {
				continue
			}
		}
		m, err := generic(v)
		if err != nil {
			return nil, err
		}
		r.key = at(m, path)
		rows = append(rows, r)
	}
	slices.SortStableFunc(rows, func(a, b keyed) int {
		n := compareValues(a.key, b.key)
		if reverse {
			return -n
		}
		return n
	})
	ordered := make(list, len(rows))
	for i := range rows {
		ordered[i] = rows[i].item
	}
	return ordered, nil
}

// compareValues orders numbers before texts, and what is neither before both.
func compareValues(a, b any) int {
	rank := func(v any) int {
		switch v.(type) {
		case json.Number:
			return 1
		case string:
			return 2
		}
		return 0
	}
	switch x := a.(type) {
	case json.Number:
		if y, ok := b.(json.Number); ok {
			f, _ := x.Float64() // out of range is an infinity, in its order
			g, _ := y.Float64()
			return cmp.Compare(f, g)
		}
	case string:
		if y, ok := b.(string); ok {
			return cmp.Compare(x, y)
		}
	}
	return cmp.Compare(rank(a), rank(b))
}

// generic is an answer as a JSON object that can be looked into.
func generic(v any) (m map[string]any, err error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode an answer: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("look into an answer: %w", err)
	}
	return m, nil
}

// splitPaths reads columns: names with dots between the levels, and commas
// between the names.
func splitPaths(s string) (paths [][]string) {
	for name := range strings.SplitSeq(s, ",") {
		if name != "" {
			paths = append(paths, strings.Split(name, "."))
		}
	}
	return paths
}

// at returns what is at a path, nil where there is nothing.
func at(m map[string]any, path []string) any {
	var v any = m
	for _, key := range path {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}

// pick reduces an object to some of its values, all where none are named.
func pick(m map[string]any, paths [][]string) map[string]any {
	if len(paths) == 0 {
		return m
	}
	picked := map[string]any{}
	for _, path := range paths {
		v := at(m, path)
		if v == nil {
			continue
		}
		into := picked
		for _, key := range path[:len(path)-1] {
			next, ok := into[key].(map[string]any)
			if !ok {
				next = map[string]any{}
				into[key] = next
			}
			into = next
		}
		into[path[len(path)-1]] = v
	}
	return picked
}
