package ocsf_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
)

// schema is the copy of the schema in testdata.
type schema struct {
	Version string
	Types   map[string]string // of JSON, by type of the schema
	Classes map[string]object // by class_uid
	Objects map[string]object
}

// object is a class or an object of the schema.
type object struct {
	Name       string
	Profiles   []string
	AtLeastOne [][]string `json:"at_least_one"`
	Attributes map[string]attribute
}

// attribute is what the schema says of one member.
type attribute struct {
	Requirement, Type string
	Profile           string // "": part of the class
	Enum              map[string]string
	Sibling           string // the member that has the caption of this one's value
	IsArray           bool   `json:"is_array"`
}

// loadSchema reads testdata/schema.json.
func loadSchema(t testing.TB) *schema {
	t.Helper()
	b, err := os.ReadFile("testdata/schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	return &s
}

// check says everything in which a line differs from the schema.
func (s *schema) check(line []byte) (wrong []string) {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	var e map[string]any
	if err := dec.Decode(&e); err != nil {
		return []string{err.Error()}
	}
	class, known := s.Classes[fmt.Sprint(e["class_uid"])]
	if !known {
		return []string{fmt.Sprintf("class_uid %v", e["class_uid"])}
	}
	meta, _ := e["metadata"].(map[string]any)
	if meta["version"] != s.Version {
		wrong = append(wrong, fmt.Sprintf("metadata.version %v, the schema has %s", meta["version"], s.Version))
	}
	var profiles []string
	declared, _ := meta["profiles"].([]any)
	for _, p := range declared {
		profiles = append(profiles, fmt.Sprint(p))
		if !slices.Contains(class.Profiles, fmt.Sprint(p)) {
			wrong = append(wrong, fmt.Sprintf("the class has no profile %v", p))
		}
	}
	id := func(key string) int64 { n, _ := strconv.ParseInt(fmt.Sprint(e[key]), 10, 64); return n }
	if id("type_uid") != id("class_uid")*100+id("activity_id") {
		wrong = append(wrong, fmt.Sprintf("type_uid %v", e["type_uid"]))
	}
	if want := fmt.Sprintf("%v: %v", e["class_name"], e["activity_name"]); e["type_name"] != want {
		wrong = append(wrong, fmt.Sprintf("type_name %v, want %s", e["type_name"], want))
	}
	return append(wrong, s.object("", &class, e, profiles)...)
}

// object checks one level.
func (s *schema) object(path string, o *object, m map[string]any, profiles []string) (wrong []string) {
	for name, a := range o.Attributes {
		demanded := a.Requirement == "required" && (a.Profile == "" || slices.Contains(profiles, a.Profile))
		if _, there := m[name]; !there && demanded {
			wrong = append(wrong, path+name+" is required")
		}
	}
	for _, group := range o.AtLeastOne {
		if !slices.ContainsFunc(group, func(name string) bool { return m[name] != nil }) {
			wrong = append(wrong, fmt.Sprintf("%snone of %v is there", path, group))
		}
	}
	for name, v := range m {
		a, known := o.Attributes[name]
		if !known {
			wrong = append(wrong, path+name+" is not in the copy of the schema")
			continue
		}
		if a.Profile != "" && !slices.Contains(profiles, a.Profile) {
			wrong = append(wrong, fmt.Sprintf("%s%s is of the profile %s, which metadata.profiles does not have", path, name, a.Profile))
		}
		values := []any{v}
		if a.IsArray {
			values, known = v.([]any)
			if !known {
				wrong = append(wrong, path+name+" is no array")
			}
		}
		for _, one := range values {
			wrong = append(wrong, s.value(path+name, &a, one, profiles)...)
		}
		if a.Sibling != "" {
			if caption := a.Enum[fmt.Sprint(v)]; m[a.Sibling] != caption {
				wrong = append(wrong, fmt.Sprintf("%s%s is %v, the caption of %v is %s", path, a.Sibling, m[a.Sibling], v, caption))
			}
		}
	}
	return wrong
}

// value checks one value by the type and the enumeration of its attribute.
func (s *schema) value(path string, a *attribute, v any, profiles []string) []string {
	if a.Enum != nil && a.Enum[fmt.Sprint(v)] == "" {
		return []string{fmt.Sprintf("%s: %v is not in the enumeration", path, v)}
	}
	kind, scalar := s.Types[a.Type]
	if o, known := s.Objects[a.Type]; known {
		m, ok := v.(map[string]any)
		if !ok {
			return []string{path + " is no object"}
		}
		return s.object(path+".", &o, m, profiles)
	}
	ok := false
	switch v := v.(type) {
	case string:
		ok = kind == "string" && text(a.Type, v)
	case json.Number:
		n, err := strconv.ParseUint(v.String(), 10, 64)
		ok = kind == "integer" && err == nil && (a.Type != "port_t" || n <= 65535)
	case map[string]any:
		ok = kind == "object"
	}
	if !ok || !scalar {
		return []string{fmt.Sprintf("%s: %v is no %s", path, v, a.Type)}
	}
	return nil
}

// text checks what a type demands of its strings.
func text(of, v string) bool {
	switch of {
	case "ip_t":
		_, err := netip.ParseAddr(v)
		return err == nil
	case "file_hash_t":
		_, err := hex.DecodeString(v)
		return err == nil
	}
	return true
}
