package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
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
		return pick(result, columns), nil
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
		items = c.sorted(items, strings.Split(by, "."), q.Get("sort_reverse") == "true")
	}
	p.FilteredCount = len(items)
	if paging {
		if items, err = p.cut(q, items); err != nil {
			return nil, err
		}
	}
	all := &rows{items, columns}
	if !paging {
		return all, nil
	}
	p.Items = list{}
	err = all.each(c, func(row any) error {
		p.Items = append(p.Items, row)
		return nil
	})
	p.ItemCount = len(p.Items)
	return p, err
}

// rows are an answer that is put together while it is written: however long it is,
// one row at a time is in memory.
type rows struct {
	items   list
	columns [][]string
}

// each calls f with each row, until that returns an error.
func (r *rows) each(c *call, f func(row any) error) error {
	for _, v := range r.items {
		if i, ok := v.(item); ok {
			if v = i.row(c); v == nil {
				continue
			}
		}
		if len(r.columns) > 0 {
			v = pick(v, r.columns)
		}
		if err := f(v); err != nil {
			return err
		}
	}
	return nil
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
		if re.MatchString(nameOf(v)) {
			kept = append(kept, v)
		}
	}
	return kept, nil
}

func nameOf(v any) string {
	if i, ok := v.(item); ok {
		return i.name()
	}
	name, _ := at(v, []string{"name"}).(string)
	return name
}

// sorted returns items in the order of a value of theirs.
func (c *call) sorted(items list, path []string, reverse bool) list {
	type keyed struct {
		item any
		key  sortKey
	}
	byName := slices.Equal(path, []string{"name"})
	rows := make([]keyed, 0, len(items))
	for _, v := range items {
		row := v
		if i, ok := v.(item); ok && byName {
			row = map[string]string{"name": i.name()}
		} else if ok {
			row = i.row(c)
		}
		if row != nil {
			rows = append(rows, keyed{v, keyOf(at(row, path))})
		}
	}
	slices.SortStableFunc(rows, func(a, b keyed) int {
		n := a.key.compare(&b.key)
		if reverse {
			return -n
		}
		return n
	})
	ordered := make(list, len(rows))
	for i := range rows {
		ordered[i] = rows[i].item
	}
	return ordered
}

// A sortKey orders numbers before texts, and what is neither before both.
type sortKey struct {
	rank   int
	number float64
	text   string
}

func keyOf(v any) sortKey {
	if n, ok := v.(json.Number); ok {
		f, _ := n.Float64() // out of range is an infinity, in its order
		return sortKey{rank: 1, number: f}
	}
	switch r := reflect.ValueOf(v); {
	case r.CanInt():
		return sortKey{rank: 1, number: float64(r.Int())}
	case r.CanUint():
		return sortKey{rank: 1, number: float64(r.Uint())}
	case r.CanFloat():
		return sortKey{rank: 1, number: r.Float()}
	case r.Kind() == reflect.String:
		return sortKey{rank: 2, text: r.String()}
	}
	return sortKey{}
}

func (k *sortKey) compare(o *sortKey) int {
	return cmp.Or(cmp.Compare(k.rank, o.rank), cmp.Compare(k.number, o.number), strings.Compare(k.text, o.text))
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
