package repo

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// How the documents write what is typed at a shell, which the tests of this file
// read. A block that begins with
//
//	```console            is run, and its output compared with what stands there;
//	```console aws        needs an account of AWS: only its syntax is checked;
//	```console not-run: … is not run for the reason that stands there; its
//	                      syntax is checked.
//
// In it, what follows "$ " is a command, up to the line where the shell has the
// whole of it, and the lines below are its output, standard error too. "..." stands
// for any text within a line; a line of "..." alone stands for any lines. A command
// without output must succeed. All blocks of a page run in one shell, from top to
// bottom, in an empty folder. A block of another language below the line
// <!-- file NAME --> is first written to that file.

// fence is a fenced block of a document.
type fence struct {
	page string
	line int    // of its first line of text
	info string // what stands behind the backquotes
	file string // where the page says that it is a file
	text string
}

// lang returns the language of a block, and what follows it.
func (f fence) lang() (language, rest string) {
	language, rest, _ = strings.Cut(f.info, " ")
	return language, rest
}

// fences returns the fenced blocks of a document.
func fences(t *testing.T, page string) (all []fence) {
	t.Helper()
	var open *fence
	number, file := 0, ""
	for line := range strings.Lines(read(t, page)) {
		number++
		mark, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case open == nil && isFence:
			open = &fence{page: page, line: number + 1, info: mark, file: file}
		case isFence:
			all = append(all, *open)
			open, file = nil, ""
		case open != nil:
			open.text += line
		case strings.TrimSpace(line) != "":
			file = ""
			if m := regexp.MustCompile(`^<!-- file (\S+) -->\s*$`).FindStringSubmatch(line); m != nil {
				file = m[1]
			}
		}
	}
	if open != nil {
		t.Errorf("%s:%d: the block does not end", page, open.line-1)
	}
	return all
}

// step is a command of a page and the output that the page shows, or a file that
// the page writes.
type step struct {
	where   string // page:line
	command string
	want    string
	file    string
	text    string
}

// heredoc finds the word that ends the here-document of a command.
var heredoc = regexp.MustCompile(`<<'?(\w+)'?`)

// steps splits a block of a console into its commands.
func (f fence) steps(t *testing.T) (all []step) {
	t.Helper()
	end := "" // of the here-document that is open
	number := f.line - 1
	for line := range strings.Lines(f.text) {
		number++
		command, isCommand := strings.CutPrefix(line, "$ ")
		last := len(all) - 1
		switch {
		case end != "":
			all[last].command += line
			if strings.TrimSpace(line) == end {
				end = ""
			}
		case last >= 0 && all[last].want == "" && strings.HasSuffix(all[last].command, "\\\n"):
			all[last].command += line
		case isCommand:
			all = append(all, step{where: fmt.Sprintf("%s:%d", f.page, number), command: command})
			if m := heredoc.FindStringSubmatch(command); m != nil {
				end = m[1]
			}
		case last < 0:
			t.Errorf("%s:%d: the block begins with output", f.page, number)
			return nil
		default:
			all[last].want += line
		}
	}
	if end != "" {
		t.Errorf("%s:%d: the here-document does not end with %s", f.page, number, end)
	}
	return all
}

// pages returns README.md and what is in docs/.
func pages(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob("docs/*.md")
	if err != nil || len(all) == 0 {
		t.Fatalf("docs/ has %d pages: %v", len(all), err)
	}
	return append([]string{"README.md"}, all...)
}

// script returns the steps of a page that are to be run.
func script(t *testing.T, page string) (all []step) {
	t.Helper()
	for _, f := range fences(t, page) {
		switch language, rest := f.lang(); {
		case f.file != "":
			all = append(all, step{where: fmt.Sprintf("%s:%d", page, f.line), file: f.file, text: f.text})
		case language == "console" && rest == "":
			all = append(all, f.steps(t)...)
		}
	}
	return all
}

func TestEveryBlockOfADocumentSaysWhatItIs(t *testing.T) {
	t.Parallel()
	languages := []string{"console", "json", "text", "yaml"}
	for _, page := range pages(t) {
		for _, f := range fences(t, page) {
			language, rest := f.lang()
			where := fmt.Sprintf("%s:%d", page, f.line)
			reason, notRun := strings.CutPrefix(rest, "not-run:")
			switch {
			case !slices.Contains(languages, language):
				t.Errorf("%s: the block is marked %q; write one of %v", where, f.info, languages)
			case language != "console" && regexp.MustCompile(`(?m)^\$ `).MatchString(f.text):
				t.Errorf("%s: what is typed at a shell stands in a block that is marked console", where)
			case language == "console" && notRun && len(strings.Fields(reason)) < 3:
				t.Errorf("%s: write why the block is not run", where)
			case language == "console" && rest != "" && rest != "aws" && !notRun:
				t.Errorf("%s: behind console stands %q; write nothing, aws, or not-run: and the reason", where, rest)
			}
		}
	}
}

func TestConsoleExamplesThatAreNotRunAreShell(t *testing.T) {
	t.Parallel()
	bash := tool(t, "bash")
	checked := 0
	for _, page := range append(pages(t), "deploy/ecs/README.md") {
		for _, f := range fences(t, page) {
			language, rest := f.lang()
			text := ""
			switch {
			case language == "sh":
				text = f.text
			case language == "console" && rest != "":
				for _, s := range f.steps(t) {
					text += s.command
				}
			default:
				continue
			}
			checked++
			cmd := exec.Command(bash, "-n")
			cmd.Stdin = strings.NewReader(text)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s:%d: %v: %s", page, f.line, err, out)
			}
		}
	}
	if checked == 0 {
		t.Error("no block is marked aws, not-run or sh; the check looks for the wrong thing")
	}
}

// tool returns the path of a program, or skips the test where it is missing.
func tool(t *testing.T, name string) string {
	t.Helper()
	found, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not on this machine: %v", name, err)
	}
	return found
}

// onOtherPorts replaces the ports at which examples listen by free ones: those of
// the documents may be in use on this machine. It changes nothing else.
func onOtherPorts(t *testing.T, steps []step) []step {
	t.Helper()
	// PROXY:3128 is what "proxy token" prints, whatever the policy says.
	port := regexp.MustCompile(`\b(PROXY:3128|3128|8443|9090|5399)\b`)
	free := map[string]string{}
	for _, p := range []string{"3128", "8443", "9090", "5399"} {
		free[p] = freePort(t, slices.Collect(maps.Values(free)))
	}
	instead := func(s string) string {
		return port.ReplaceAllStringFunc(s, func(p string) string { return cmp.Or(free[p], p) })
	}
	changed := slices.Clone(steps)
	for i, s := range steps {
		changed[i].command, changed[i].want, changed[i].text = instead(s.command), instead(s.want), instead(s.text)
	}
	return changed
}

// freePort returns a port of loopback that nobody listens at, by TCP or UDP, and
// that is not among those taken.
func freePort(t *testing.T, taken []string) string {
	t.Helper()
	for range 50 {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		_ = tcp.Close()
		if err != nil {
			continue
		}
		_ = udp.Close()
		if port := strconv.Itoa(tcp.Addr().(*net.TCPAddr).Port); !slices.Contains(taken, port) {
			return port
		}
	}
	t.Fatal("no port of loopback is free")
	return ""
}

// outcome is what a step did.
type outcome struct {
	output string
	status string // the exit code; empty where the shell ended before
}

// play runs steps in one shell, from top to bottom, in a folder. What the shell
// leaves running is killed at the end.
func play(t *testing.T, dir string, env []string, steps []step) []outcome {
	t.Helper()
	bash := tool(t, "bash")
	var text strings.Builder
	for i, s := range steps {
		if s.file != "" {
			if err := os.WriteFile(filepath.Join(dir, s.file), []byte(s.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		// The record separator and a number stand before each output, and behind it
		// with the exit code.
		fmt.Fprintf(&text, "printf '\\036%d\\n'\n%s\nprintf '\\036%d %%d\\n' $?\n", i, s.command, i)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bash, "-c", text.String())
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	group := cmd.Process.Pid
	cmd.Cancel = func() error { return syscall.Kill(-group, syscall.SIGKILL) }
	_ = cmd.Wait() // the exit code of the last command is among the outcomes
	_ = syscall.Kill(-group, syscall.SIGKILL)
	if ctx.Err() != nil {
		t.Errorf("%s: the shell has not come to its end after four minutes", steps[0].where)
	}
	b, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return outcomes(string(b), len(steps))
}

// outcomes splits what the shell printed by the separators that play put in.
func outcomes(printed string, n int) []outcome {
	all := make([]outcome, n)
	for part := range strings.SplitSeq(strings.ReplaceAll(printed, "\r", ""), "\x1e") {
		head, output, _ := strings.Cut(part, "\n")
		number, status, isEnd := strings.Cut(head, " ")
		i, err := strconv.Atoi(number)
		switch {
		case err != nil || i >= n:
		case isEnd:
			all[i].status = status
		default:
			all[i].output = output
		}
	}
	return all
}

// pattern returns what matches the output that a page shows.
func pattern(want string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString("^")
	for line := range strings.Lines(strings.TrimRight(want, "\n") + "\n") {
		switch line = strings.TrimSuffix(line, "\n"); line {
		case "...":
			b.WriteString(`(.*\n)*?`)
		default:
			b.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), regexp.QuoteMeta("..."), ".*") + `\n`)
		}
	}
	return regexp.MustCompile(b.String() + "$")
}

// compare fails the test for each step that did not do what its page shows.
func compare(t *testing.T, steps []step, got []outcome) {
	t.Helper()
	for i, s := range steps {
		output := strings.TrimRight(got[i].output, "\n") + "\n"
		switch {
		case got[i].status == "":
			t.Errorf("%s: %q did not come to its end\nit printed\n%s", s.where, s.command, output)
		case s.want == "" && got[i].status != "0":
			t.Errorf("%s: %q failed with exit code %s\nit printed\n%s", s.where, s.command, got[i].status, output)
		case !pattern(s.want).MatchString(output):
			t.Errorf("%s: %q printed\n%s\nthe page shows\n%s", s.where, s.command, output, s.want)
		}
	}
}

// environment is that of this process without what changes where clients and the
// proxy go, and with more.
func environment(more ...string) []string {
	kept := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(strings.ToUpper(v), "=")
		return strings.HasSuffix(name, "_PROXY") && name != "GOPROXY" || strings.HasPrefix(name, "EGRESS_")
	})
	return append(kept, more...)
}

// build builds the program into a folder.
func build(t *testing.T, dir string) {
	t.Helper()
	if out, err := exec.Command("go", "build", "-o", dir+"/", "./cmd/proxy", "./docs/hello").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// Every console example of docs/ does what the page shows. README.md has a test
// of its own, because it begins with a clone.
func TestConsoleExamplesOfDocsDoWhatTheyShow(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	build(t, bin)
	ran := 0
	for _, page := range pages(t)[1:] {
		steps := script(t, page)
		if len(steps) == 0 {
			continue
		}
		ran++
		t.Run(filepath.Base(page), func(t *testing.T) {
			t.Parallel()
			for _, s := range steps {
				for _, name := range []string{"curl", "dig", "jq"} {
					if regexp.MustCompile(`(^|\| )` + name + ` `).MatchString(s.command) {
						tool(t, name)
					}
				}
			}
			steps = onOtherPorts(t, steps)
			env := environment("PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"))
			compare(t, steps, play(t, t.TempDir(), env, steps))
		})
	}
	if ran == 0 {
		t.Error("no page of docs/ has a console example")
	}
}

// The README, typed from the top in an empty folder, ends in one request that is
// refused and one that is allowed, both by a real curl. What it clones is the
// repository as it lies here, by way of Git's own setting for that.
func TestREADMETypedFromTheTopEndsInOneRefusalAndOneAnswer(t *testing.T) {
	t.Parallel()
	git := tool(t, "git")
	tool(t, "curl")
	origin := filepath.Join(t.TempDir(), "origin.git")
	author := environment("GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.com", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.com")
	for _, args := range [][]string{
		{"init", "--quiet", "--bare", origin},
		{"--git-dir", origin, "--work-tree", ".", "add", "--all"},
		{"--git-dir", origin, "--work-tree", ".", "commit", "--quiet", "--message", "as it lies here"},
	} {
		cmd := exec.Command(git, args...)
		cmd.Env = author
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	steps := onOtherPorts(t, script(t, "README.md"))
	got := play(t, t.TempDir(), append(author,
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=url."+origin+".insteadOf", "GIT_CONFIG_VALUE_0=https://"+module), steps)
	compare(t, steps, got)
	refused, allowed := 0, 0
	for i, s := range steps {
		if !strings.HasPrefix(s.command, "curl ") || !strings.Contains(s.command, " https://") {
			continue
		}
		switch {
		case got[i].status == "56" && strings.Contains(got[i].output, "X-Egress-Reason: host_not_allowed"):
			refused++
		case got[i].status == "0" && strings.Contains(got[i].output, "hello from behind the proxy"):
			allowed++
		}
	}
	if refused != 1 || allowed != 1 {
		t.Errorf("README.md ends in %d requests refused and %d allowed, want one of each", refused, allowed)
	}
}

// The first command of the README serves the embedded policy at the ports that it
// says.
func TestREADMEsFirstCommandServesTheEmbeddedPolicy(t *testing.T) {
	t.Parallel()
	curl := tool(t, "curl")
	for _, address := range []string{"127.0.0.1:3128", "127.0.0.1:9090"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Skipf("%s is in use on this machine: %v", address, err)
		}
		_ = l.Close()
	}
	if !strings.Contains(read(t, "README.md"), "\n$ go run ./cmd/proxy run\n") {
		t.Error("README.md does not begin with go run ./cmd/proxy run")
	}
	bin := t.TempDir()
	build(t, bin)
	var log bytes.Buffer
	cmd := exec.Command(filepath.Join(bin, "proxy"), "run")
	cmd.Env, cmd.Stderr = environment(), &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready, readyErr := exec.Command(curl, "-sS", "--retry", "5", "--retry-connrefused", "http://127.0.0.1:9090/readyz").CombinedOutput()
	answer, _ := exec.Command(curl, "-sSi", "-x", "http://demo:demo@127.0.0.1:3128", "https://evil.example/").CombinedOutput()
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
	if readyErr != nil || !strings.HasSuffix(string(ready), "ready\n") {
		t.Errorf("/readyz: %v: %s\n%s", readyErr, ready, log.String())
	}
	if !strings.Contains(string(answer), "host_not_allowed evil.example for demo") {
		t.Errorf("curl printed\n%s", answer)
	}
}

// The page of the command line has the commands of the program and no others, each
// with its flags and no others.
func TestCommandsPageListsEveryCommandWithItsFlags(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	build(t, bin)
	help := func(command ...string) string {
		out, err := exec.Command(filepath.Join(bin, "proxy"), append(command, "--help")...).Output()
		if err != nil {
			t.Fatalf("proxy %v --help: %v", command, err)
		}
		return string(out)
	}
	flag := regexp.MustCompile(`--[a-z][a-z-]*`)
	flagsOf := func(text string) []string {
		all := slices.DeleteFunc(flag.FindAllString(text, -1), func(f string) bool { return f == "--help" })
		slices.Sort(all)
		return slices.Compact(all)
	}
	listed := map[string][]string{}
	for _, f := range fences(t, "docs/commands.md") {
		if language, _ := f.lang(); language != "text" {
			continue
		}
		for line := range strings.Lines(f.text) {
			if words := strings.Fields(line); strings.HasPrefix(line, "proxy ") {
				listed[words[1]] = flagsOf(line)
			}
		}
	}
	_, commands, _ := strings.Cut(help(), "Available Commands:\n")
	commands, _, _ = strings.Cut(commands, "\n\n")
	for line := range strings.Lines(commands) {
		name := strings.Fields(line)[0]
		if name == "help" {
			continue
		}
		_, flags, _ := strings.Cut(help(name), "\nFlags:\n")
		switch got, ok := listed[name]; {
		case !ok:
			t.Errorf("docs/commands.md does not list proxy %s", name)
		case !slices.Equal(got, flagsOf(flags)):
			t.Errorf("docs/commands.md lists proxy %s with %v, the program has %v", name, got, flagsOf(flags))
		}
		delete(listed, name)
	}
	for name := range listed {
		t.Errorf("docs/commands.md lists proxy %s, which the program does not have", name)
	}
}
