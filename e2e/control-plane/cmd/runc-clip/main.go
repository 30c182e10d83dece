// Command runc-clip is runc where root lacks some capability, typically CAP_SYS_RESOURCE: it takes out of an OCI bundle what this
// process could not grant (capabilities outside its bounding set, limits above its own, an oom_score_adj below its own), and
// becomes runc.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// In the kernel's order, from 0.
var capabilities = strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID
SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE
SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME
SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM
BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`)

var limits = strings.Fields(`CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME`)

// allowed are the capabilities of this process's bounding set.
func allowed() map[string]bool {
	found := map[string]bool{}
	status, err := os.Open("/proc/self/status")
	if err != nil {
		return found
	}
	defer status.Close()
	for lines := bufio.NewScanner(status); lines.Scan(); {
		hex, isSet := strings.CutPrefix(lines.Text(), "CapBnd:")
		if !isSet {
			continue
		}
		mask, _ := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		for number, name := range capabilities {
			if mask&(1<<uint(number)) != 0 {
				found["CAP_"+name] = true
			}
		}
	}
	return found
}

// clip takes out of an OCI process what cannot be granted.
func clip(process map[string]any) {
	allowed := allowed()
	if sets, is := process["capabilities"].(map[string]any); is {
		for name, set := range sets {
			wanted, _ := set.([]any)
			kept := []any{}
			for _, capability := range wanted {
				if text, _ := capability.(string); allowed[text] {
					kept = append(kept, capability)
				}
			}
			sets[name] = kept
		}
	}
	if wanted, is := process["rlimits"].([]any); is {
		kept := []any{}
		for _, limit := range wanted {
			if canSet(limit) {
				kept = append(kept, limit)
			}
		}
		process["rlimits"] = kept
	}
	if number, is := process["oomScoreAdj"].(json.Number); is && !allowed["CAP_SYS_RESOURCE"] {
		own := 0
		if text, err := os.ReadFile("/proc/self/oom_score_adj"); err == nil {
			own, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		if wanted, err := number.Int64(); err == nil && int(wanted) < own {
			process["oomScoreAdj"] = own
		}
	}
}

// canSet tells whether a limit is within our own; without it the process has ours.
func canSet(limit any) bool {
	fields, _ := limit.(map[string]any)
	kind, _ := fields["type"].(string)
	hard, _ := fields["hard"].(json.Number)
	wanted, err := strconv.ParseUint(string(hard), 10, 64)
	for number, name := range limits {
		if kind == "RLIMIT_"+name {
			var own syscall.Rlimit
			return err == nil && syscall.Getrlimit(number, &own) == nil && wanted <= own.Max
		}
	}
	return false
}

// rewrite clips the process of a file: the file is one, or has one as `process`.
func rewrite(path string, isSpec bool) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var document map[string]any
	// As they are written: a 64-bit number would lose digits.
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	if err := decoder.Decode(&document); err != nil {
		return err
	}
	process := document
	if isSpec {
		process, _ = document["process"].(map[string]any)
	}
	if process == nil {
		return nil
	}
	clip(process)
	if text, err = json.Marshal(document); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

// option finds the value of an option under any of its names.
func option(arguments []string, names ...string) string {
	for index, argument := range arguments {
		for _, name := range names {
			if argument == name && index+1 < len(arguments) {
				return arguments[index+1]
			}
			if value, is := strings.CutPrefix(argument, name+"="); is {
				return value
			}
		}
	}
	return ""
}

// prepare clips what a call of runc is about.
func prepare(arguments []string) error {
	for _, argument := range arguments {
		switch argument {
		case "create", "run":
			// Without the option it is the current folder.
			return rewrite(filepath.Join(option(arguments, "--bundle", "-b"), "config.json"), true)
		case "exec":
			if file := option(arguments, "--process", "-p"); file != "" {
				return rewrite(file, false)
			}
			return nil
		}
	}
	return nil
}

func main() {
	err := prepare(os.Args[1:])
	if err == nil {
		var runc string
		if runc, err = exec.LookPath("runc"); err == nil {
			err = syscall.Exec(runc, append([]string{"runc"}, os.Args[1:]...), os.Environ())
		}
	}
	fmt.Fprintln(os.Stderr, "runc-clip:", err)
	os.Exit(1)
}
