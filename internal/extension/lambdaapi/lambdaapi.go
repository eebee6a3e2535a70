// Package lambdaapi speaks to Lambda's Extensions API, version 2020-01-01.
//
// What it does: it registers an extension for SHUTDOWN alone, which costs an invocation
// nothing, and waits for that.
//
// What it does not do: it asks for no other event, and reports no errors of the
// extension to Lambda: that would end the environment.
//
//	id, err := api.Register(ctx, "egress")
//	reason, err := api.Next(ctx, id)
package lambdaapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// maxAnswer bounds an answer of the API.
const maxAnswer = 64 << 10

// API is Lambda's API within an environment.
type API struct {
	Address string       // host:port, of AWS_LAMBDA_RUNTIME_API
	Client  *http.Client // without a time: Next waits for days
}

// Register registers the extension, which has the name of its file, and returns the
// identifier that Next wants. Lambda starts the runtime when all extensions have
// registered.
func (a API) Register(ctx context.Context, name string) (id string, err error) {
	r, err := a.request(ctx, http.MethodPost, "register", `{"events":["SHUTDOWN"]}`)
	if err != nil {
		return "", err
	}
	r.Header.Set("Lambda-Extension-Name", name)
	answer, _, err := a.do(r)
	if err != nil {
		return "", fmt.Errorf("registering: %w", err)
	}
	if id = answer.Header.Get("Lambda-Extension-Identifier"); id == "" {
		return "", errors.New("registering: the answer has no identifier")
	}
	return id, nil
}

// Next waits for the next event and returns its type. To call it says that the extension
// is ready to be frozen.
func (a API) Next(ctx context.Context, id string) (event string, err error) {
	r, err := a.request(ctx, http.MethodGet, "event/next", "")
	if err != nil {
		return "", err
	}
	r.Header.Set("Lambda-Extension-Identifier", id)
	_, body, err := a.do(r)
	if err != nil {
		return "", fmt.Errorf("waiting for an event: %w", err)
	}
	var e struct{ EventType string }
	if err := json.Unmarshal(body, &e); err != nil {
		return "", fmt.Errorf("reading an event: %w", err)
	}
	return e.EventType, nil
}

// request makes a request of the API.
func (a API) request(ctx context.Context, method, path, body string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+a.Address+"/2020-01-01/extension/"+path, strings.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("AWS_LAMBDA_RUNTIME_API: %w", err)
	}
	return r, nil
}

// do sends a request and reads the answer, whose status has to be 200.
func (a API) do(r *http.Request) (*http.Response, []byte, error) {
	answer, err := a.Client.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the answer: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("status %d", answer.StatusCode)
	}
	return answer, body, nil
}
