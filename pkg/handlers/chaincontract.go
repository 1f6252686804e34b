package handlers

import (
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// chainName is what Dragonchain puts before a contract's id to name its function.
const chainName = "contract-"

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

func isUUID(s string) bool { return uuidForm.MatchString(s) }

// chainContract is a contract as a Dragonchain shows it. No member is ever left out; what does not apply is null.
type chainContract struct {
	DCRN        string            `json:"dcrn"`
	Version     string            `json:"version"`
	Type        string            `json:"txn_type"`
	ID          string            `json:"id"`
	Status      chainStatus       `json:"status"`
	Image       string            `json:"image"`
	AuthKeyID   *string           `json:"auth_key_id"`
	ImageDigest *string           `json:"image_digest"`
	Command     string            `json:"cmd"`
	Arguments   []string          `json:"args"`
	Env         map[string]string `json:"env"`
	Secrets     []string          `json:"existing_secrets"`
	Cron        *string           `json:"cron"`
	Seconds     *int              `json:"seconds"`
	Order       string            `json:"execution_order"`
}

// chainStatus is a contract's state: active, or error with a reason. A contract at zero is active.
type chainStatus struct {
	State     string `json:"state"`
	Message   string `json:"msg"`
	Timestamp string `json:"timestamp"`
}

// describe tells of a contract what is known here: the chain's own key for it is not.
func (a *API) describe(f *function.Function) chainContract {
	c := chainContract{
		DCRN: "SmartContract::L1::AtRest", Version: "1", Type: transactionType(f), ID: a.chainID(f),
		Status: chainStatus{State: "active", Message: "Creation success", Timestamp: f.Created.UTC().Format("2006-01-02 15:04:05.000000")},
		Image:  f.Image, Env: f.Env, Arguments: []string{}, Order: "parallel",
	}
	if observed := a.cfg.Functions.Status(f.Ref); observed.Reason != "" && observed.Available == 0 {
		c.Status.State, c.Status.Message = "error", observed.Reason
	}
	if _, digest, pinned := strings.Cut(f.Image, "@"); pinned {
		c.ImageDigest = &digest
	}
	if words := strings.Split(f.Process, " "); len(words) > 0 {
		c.Command, c.Arguments = words[0], append(c.Arguments, words[1:]...)
	}
	for _, name := range f.Secrets {
		c.Secrets = append(c.Secrets, strings.TrimPrefix(name, "sc-"+c.ID+"-"))
	}
	if schedule := f.Policy.Schedule; schedule.Cron != "" {
		c.Cron = &schedule.Cron
	} else if schedule.Every > 0 {
		seconds := int(schedule.Every / time.Second)
		c.Seconds = &seconds
	}
	if f.Policy.Serial {
		c.Order = "serial"
	}
	return c
}

// chainID is what contractOf finds f by.
func (a *API) chainID(f *function.Function) string {
	id := f.Name
	if rest, named := strings.CutPrefix(f.Name, chainName); named && isUUID(rest) {
		id = rest
	}
	if f.Namespace != a.cfg.DefaultNamespace {
		id += "." + f.Namespace
	}
	return id
}

// transactionType is the type of the transactions that a contract is called with.
func transactionType(f *function.Function) string {
	if name := f.Env["SMART_CONTRACT_NAME"]; name != "" {
		return name
	}
	return f.Name
}

// chainError is how a Dragonchain answers what it refuses.
type chainError struct {
	Error struct {
		Type    string `json:"type"`
		Details string `json:"details"`
	} `json:"error"`
}

var chainErrorTypes = map[int]string{
	http.StatusBadRequest:       "BAD_REQUEST",
	http.StatusUnauthorized:     "AUTHENTICATION_ERROR",
	http.StatusNotFound:         "NOT_FOUND",
	http.StatusMethodNotAllowed: "METHOD_NOT_ALLOWED",
	http.StatusTooManyRequests:  "TOO_MANY_REQUESTS",
}

// newChainError has Dragonchain's own text for what is not there.
func newChainError(status int, text string) (e chainError) {
	e.Error.Type, e.Error.Details = chainErrorTypes[status], text
	if e.Error.Type == "" {
		e.Error.Type = "INTERNAL_SERVER_ERROR"
	}
	if status == http.StatusNotFound && text != errNoRoute.Error() {
		e.Error.Details = "The requested resource(s) cannot be found."
	}
	return e
}
