package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// userName returns the first claim of the configured ones, sub and client_id
// that is a text with something in it.
func (j *JWT) userName(claims jwt.MapClaims) (string, error) {
	for _, claim := range slices.Concat(j.opt.UsernameClaims, []string{"sub", "client_id"}) {
		if name, _ := claims[claim].(string); name != "" {
			return name, nil
		}
	}
	return "", errors.New("no claim has a user name")
}

// errManyScopes is a token that would make every decision slow.
var errManyScopes = fmt.Errorf("more than %d scopes", maxScopes)

// granted returns the permissions and the tags among the token's scopes. Scopes
// of another prefix are for others; those that make no sense allow nothing.
func (j *JWT) granted(claims jwt.MapClaims) (grants []grant, tags []string, err error) {
	all := j.scopesOf(claims)
	if len(all) > maxScopes {
		return nil, nil, errManyScopes
	}
	value := func(claim string) (string, bool) {
		text, ok := claims[claim].(string)
		return text, ok
	}
	for _, s := range all {
		scope, ours := strings.CutPrefix(s, j.prefix)
		if !ours {
			continue
		}
		if tag, ok := strings.CutPrefix(scope, "tag:"); ok && tag != "" {
			tags = append(tags, tag)
			continue
		}
		if g, err := parseGrant(scope, value); err == nil {
			grants = append(grants, g)
		}
	}
	return grants, tags, nil
}

// scopesOf returns every scope once: those of the scope claim and of the
// additional ones, and what the aliases among them stand for. It stops soon
// after there are too many.
func (j *JWT) scopesOf(claims jwt.MapClaims) []string {
	found := scopeTexts(claims["scope"], j.opt.ResourceServerID)
	for _, path := range j.opt.AdditionalScopes {
		found = append(found, scopesAt(claims, strings.Split(path, "."), j.opt.ResourceServerID)...)
	}
	all := make([]string, 0, len(found))
	seen := make(map[string]bool, len(found))
	add := func(s string) {
		if !seen[s] {
			seen[s] = true
			all = append(all, s)
		}
	}
	for _, s := range found {
		if len(all) > maxScopes {
			break
		}
		add(s)
		for _, meant := range j.opt.ScopeAliases[s] {
			add(meant)
		}
	}
	return all
}

// scopesAt follows a path of claims' names through objects, and through the
// objects in lists.
func scopesAt(value any, path []string, id string) []string {
	if len(path) == 0 {
		return scopeTexts(value, id)
	}
	switch v := value.(type) {
	case jwt.MapClaims:
		return scopesAt(map[string]any(v), path, id)
	case map[string]any:
		if next, ok := v[path[0]]; ok {
			return scopesAt(next, path[1:], id)
		}
	case []any:
		var found []string
		for _, element := range v {
			if object, ok := element.(map[string]any); ok {
				found = append(found, scopesAt(object, path, id)...)
			}
		}
		return found
	}
	return nil
}

// scopeTexts reads scopes as issuers write them: a text with spaces between
// them, a list of texts, or an object with either for every resource server,
// where they have no prefix.
func scopeTexts(value any, id string) []string {
	var found []string
	switch v := value.(type) {
	case string:
		found = strings.Fields(v)
	case []any:
		for _, element := range v {
			if s, ok := element.(string); ok {
				found = append(found, s)
			}
		}
	case map[string]any:
		if _, nested := v[id].(map[string]any); nested {
			return nil
		}
		for _, s := range scopeTexts(v[id], id) {
			found = append(found, id+"."+s)
		}
	}
	return found
}
