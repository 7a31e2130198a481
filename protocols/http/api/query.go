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

// shape does with an answer what the query says: name and use_regex filter, sort
// and sort_reverse order, page and page_size cut, columns reduce. As in RabbitMQ,
// a name filters pages only.
func (c *call) shape(result any) (any, error) {
	q := c.r.URL.Query()
	columns := splitPaths(q.Get("columns"))
	items, ok := result.(list)
	if !ok {
		if _, other := result.(verdict); other || len(columns) == 0 {
			return result, nil
		}
		m, err := generic(result)
		return pick(m, columns), err
	}
	paging := q.Has("page")
	if !paging && !q.Has("sort") && len(columns) == 0 {
		return items, nil
	}
	rows := make([]map[string]any, len(items))
	for i := range items {
		m, err := generic(items[i])
		if err != nil {
			return nil, err
		}
		rows[i] = m
	}
	total := len(rows)
	if paging {
		keep, err := nameFilter(q)
		if err != nil {
			return nil, err
		}
		rows = slices.DeleteFunc(rows, func(m map[string]any) bool { return !keep(m) })
	}
	if by := q.Get("sort"); by != "" {
		sortRows(rows, strings.Split(by, "."), q.Get("sort_reverse") == "true")
	}
	p := page{TotalCount: total, FilteredCount: len(rows)}
	if paging {
		var err error
		if rows, err = p.cut(q, rows); err != nil {
			return nil, err
		}
	}
	p.Items = make(list, len(rows))
	for i, m := range rows {
		p.Items[i] = pick(m, columns)
	}
	if p.ItemCount = len(rows); paging {
		return p, nil
	}
	return p.Items, nil
}

// cut returns the rows of the page that is asked for, and describes it.
func (p *page) cut(q url.Values, rows []map[string]any) ([]map[string]any, error) {
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

// nameFilter keeps rows whose name has a text in it, or a match of an expression;
// upper and lower case are the same, as in RabbitMQ.
func nameFilter(q url.Values) (func(map[string]any) bool, error) {
	want := q.Get("name")
	if want == "" {
		return func(map[string]any) bool { return true }, nil
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
	return func(m map[string]any) bool {
		name, _ := m["name"].(string)
		return re.MatchString(name)
	}, nil
}

func sortRows(rows []map[string]any, path []string, reverse bool) {
	slices.SortStableFunc(rows, func(a, b map[string]any) int {
		n := compareValues(at(a, path), at(b, path))
		if reverse {
			return -n
		}
		return n
	})
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
