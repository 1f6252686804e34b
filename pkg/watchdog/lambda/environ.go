package lambda

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

const functionVersion = "$LATEST"

// unset are variables that would change how a runtime works: each process is told where its API is by us, handles one invocation
// at a time, and has neither Go's server of old nor a telemetry log.
var unset = []string{
	"AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_MAX_CONCURRENCY", "_LAMBDA_SERVER_PORT", "_LAMBDA_TELEMETRY_LOG_FD",
	"_X_AMZN_TRACE_ID",
}

// environ is the environment of every runtime process: the function's own and what Lambda sets. What the image or the deployment
// says wins where both could be right.
func environ(cfg *Config) []string {
	set := map[string]string{}
	for _, entry := range cfg.Environ {
		if name, value, ok := strings.Cut(entry, "="); ok {
			set[name] = value
		}
	}
	for _, name := range unset {
		delete(set, name)
	}
	handler := cfg.Handler
	if own := set["AWS_LAMBDA_FUNCTION_HANDLER"]; own != "" {
		handler = own // as in Lambda's own emulator
	}
	region := orDefault(orDefault(set["AWS_REGION"], set["AWS_DEFAULT_REGION"]), "us-east-1")
	maps.Copy(set, map[string]string{
		"_HANDLER":                       handler,
		"AWS_LAMBDA_FUNCTION_NAME":       cfg.Name,
		"AWS_LAMBDA_FUNCTION_VERSION":    functionVersion,
		"AWS_LAMBDA_LOG_GROUP_NAME":      "/aws/lambda/" + cfg.Name,
		"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
	})
	for name, value := range map[string]string{
		"LAMBDA_TASK_ROOT":                "/var/task",
		"LAMBDA_RUNTIME_DIR":              "/var/runtime",
		"AWS_REGION":                      region,
		"AWS_DEFAULT_REGION":              region,
		"AWS_XRAY_CONTEXT_MISSING":        "LOG_ERROR",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": strconv.Itoa(cfg.MemoryMB),
	} {
		set[name] = orDefault(set[name], value)
	}
	list := make([]string, 0, len(set))
	for _, name := range slices.Sorted(maps.Keys(set)) {
		list = append(list, name+"="+set[name])
	}
	return list
}

// environFor is the environment of one process, whose API is at address.
func (p *Pool) environFor(address string, now time.Time) []string {
	stream := now.UTC().Format("2006/01/02") + "/[" + functionVersion + "]" + strings.ReplaceAll(newUUID(), "-", "")
	return append(slices.Clone(p.environ), "AWS_LAMBDA_RUNTIME_API="+address, "AWS_LAMBDA_LOG_STREAM_NAME="+stream)
}
