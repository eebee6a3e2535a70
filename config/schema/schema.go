// Package schema has the JSON Schema of the policy file, by which editors complete keys and
// mark what is wrong while somebody writes.
//
// What it does: Policy is the schema of the file that is loaded, policy.schema.json, and Team
// that of a file that it includes, team.schema.json. Both say the same of keys as package config
// does; a test sees to that.
//
// What it does not do: it does not take the place of check. A schema knows no other file, no
// public suffixes, and no name that is used before it is defined.
//
//	# yaml-language-server: $schema=https://raw.githubusercontent.com/lambda-egress-proxy/lambda-egress-proxy/main/config/schema/policy.schema.json
package schema

import _ "embed" // for the schemas

// Policy is the schema of a policy file: draft 2020-12, as it is published.
//
//go:embed policy.schema.json
var Policy string

// Team is the schema of a file that a policy includes. It refers to Policy, beside it.
//
//go:embed team.schema.json
var Team string
