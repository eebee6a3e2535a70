package attest

import "strings"

// maxARN bounds an ARN: a role's path has 512 bytes at most, its name 64.
const maxARN = 640

// ARN is the ARN of a Lambda function or of an IAM role, taken apart.
type ARN struct {
	Function  bool   // a function; else a role
	Partition string // such as aws or aws-cn
	Region    string // "" of a role
	Account   string // twelve digits
	Path      string // of a role: from the slash behind "role" to the one before the name; "" of a function
	Name      string // never empty
}

// ParseARN reads an ARN as claims have it:
//
//	arn:aws:lambda:eu-west-1:111122223333:function:NAME
//	arn:aws:iam::111122223333:role/PATH/NAME
//
// False: it is none, or has a version or an alias behind the name.
func ParseARN(s string) (a ARN, ok bool) {
	parts := strings.SplitN(s, ":", 6)
	if len(s) > maxARN || len(parts) != 6 || parts[0] != "arn" || !word(parts[1]) || !ValidAccount(parts[4]) {
		return ARN{}, false
	}
	a = ARN{Partition: parts[1], Region: parts[3], Account: parts[4]}
	switch {
	case parts[2] == "lambda" && word(a.Region):
		a.Function = true
		a.Name, ok = strings.CutPrefix(parts[5], "function:")
		ok = ok && all(a.Name, functionByte) && len(a.Name) <= 64
	case parts[2] == "iam" && a.Region == "":
		a.Path, a.Name, ok = roleName(parts[5])
	}
	return a, ok
}

// ParsePattern reads an ARN that a policy lists, the name of which may end in a star.
// The prefix is then all before it, and exact is false.
func ParsePattern(s string) (a ARN, exact, ok bool) {
	prefix, starred := strings.CutSuffix(s, "*")
	if !starred {
		a, ok = ParseARN(s)
		return a, true, ok
	}
	// One byte stands for the rest of the name, which may begin with the star.
	a, ok = ParseARN(prefix + "x")
	a.Name = strings.TrimSuffix(a.Name, "x")
	return a, false, ok
}

// roleName takes the resource of a role's ARN apart: role/PATH/NAME.
func roleName(resource string) (path, name string, ok bool) {
	rest, ok := strings.CutPrefix(resource, "role/")
	slash := strings.LastIndexByte(rest, '/')
	path, name = "/"+rest[:slash+1], rest[slash+1:]
	return path, name, ok && all(name, roleByte) && (slash < 0 || all(rest[:slash], pathByte))
}

// ValidAccount reports whether s is the number of an AWS account: twelve digits.
func ValidAccount(s string) bool {
	return len(s) == 12 && all(s, func(b byte) bool { return '0' <= b && b <= '9' })
}

// word reports whether s can be a partition or a region.
func word(s string) bool {
	return all(s, func(b byte) bool { return 'a' <= b && b <= 'z' || '0' <= b && b <= '9' || b == '-' })
}

// all reports whether s is of such bytes alone, and not empty.
func all(s string, is func(byte) bool) bool {
	for i := range len(s) {
		if !is(s[i]) {
			return false
		}
	}
	return s != ""
}

// functionByte reports whether the name of a function may have the byte.
func functionByte(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '-' || b == '_'
}

// roleByte reports whether the name of a role may have the byte.
func roleByte(b byte) bool { return functionByte(b) || strings.IndexByte("+=,.@", b) >= 0 }

// pathByte reports whether the path of a role may have the byte (IAM: any of ! to
// DEL); what a policy could not write without escapes, or a star, is left out.
func pathByte(b byte) bool { return b > ' ' && b <= '~' && b != '*' && b != '"' && b != '\\' }
