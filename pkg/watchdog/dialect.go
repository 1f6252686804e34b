package watchdog

import "fmt"

// Dialect is whose rules apply where the watchdogs that functions were written for disagree.
type Dialect string

const (
	// Native is our own: bad values are refused, the function does not see the watchdog's settings, its stderr goes to the log.
	Native Dialect = "native"
	// Classic is that of the OpenFaaS classic watchdog.
	Classic Dialect = "classic"
	// Of is that of the OpenFaaS of-watchdog.
	Of Dialect = "of"
)

// ofVariables and classicVariables are known to one upstream watchdog only, so that whoever sets one means that watchdog.
var (
	ofVariables      = []string{"mode", "function_process", "upstream_url", "http_upstream_url"}
	classicVariables = []string{"combine_output", "cgi_headers", "marshal_request", "write_debug", "debug_headers"}
)

// dialectOf is the dialect that an environment was written for. DC_DIALECT decides; without it the variables do.
func dialectOf(vars map[string]string) (Dialect, error) {
	switch d := Dialect(vars["DC_DIALECT"]); d {
	case Native, Classic, Of:
		return d, nil
	case "":
	default:
		return "", fmt.Errorf("DC_DIALECT %q is not one of: %s, %s, %s", string(d), Native, Classic, Of)
	}
	for _, name := range ofVariables {
		// fork and lambda are modes of ours: they say nothing about the of-watchdog.
		ours := name == "mode" && (vars[name] == string(ForkMode) || vars[name] == string(LambdaMode))
		if vars[name] != "" && !ours {
			return Of, nil
		}
	}
	for _, name := range classicVariables {
		if vars[name] != "" {
			return Classic, nil
		}
	}
	return Native, nil
}
