package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// httpGetter returns what reads a configuration, and what is beside it, by
// HTTP, and the configuration's name. The query of the name is for the
// configuration alone and is not in the name that is returned.
func httpGetter(name string) (string, get, error) {
	u, err := url.Parse(name)
	switch {
	case err != nil:
		return "", nil, errors.New("it is not a URL")
	case u.User != nil || u.Fragment != "":
		return "", nil, errors.New("a user, a password or a fragment has no place in it")
	case u.Host == "" || u.Path == "" || strings.HasSuffix(u.Path, "/"):
		return "", nil, errors.New("write https://host/path, and a path that does not end in /")
	case u.Scheme == "http" && !onLoopback(u.Hostname()):
		return "", nil, errors.New("plain http is read from loopback alone; write https://")
	}
	bare := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	folder, base := u.Path[:strings.LastIndexByte(u.Path, '/')+1], u.Path[strings.LastIndexByte(u.Path, '/')+1:]
	do := newClient().Do
	address := bare.Scheme + "://" + bare.Host + bare.Path
	return address, func(ctx context.Context, path, tag string, most int) (*answer, error) {
		at := *u
		if path != base {
			at = url.URL{Scheme: u.Scheme, Host: u.Host, Path: folder + path}
		}
		return fetch(ctx, do, at.String(), tag, most)
	}, nil
}

// onLoopback reports whether a host of a URL is this machine.
func onLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// fetch asks for a URL, for at most so many bytes.
func fetch(ctx context.Context, do func(*http.Request) (*http.Response, error), at, tag string, most int) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, errors.New("it is not a URL")
	}
	if tag != "" {
		req.Header.Set("If-None-Match", tag)
	}
	resp, err := do(req)
	if err != nil {
		// It quotes the whole URL, and with it a query that may be a secret.
		if of := (*url.Error)(nil); errors.As(err, &of) {
			err = of.Err
		}
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotModified:
		return nil, nil
	case http.StatusNotFound, http.StatusGone:
		return nil, fmt.Errorf("%w: the server answers %d", ErrMissing, resp.StatusCode)
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, fmt.Errorf("%w: the server answers %d", ErrDenied, resp.StatusCode)
	default:
		return nil, fmt.Errorf("the server answers %d", resp.StatusCode)
	}
	data, err := readAll(resp.Body, most)
	if err != nil {
		return nil, err
	}
	return &answer{data: data, tag: strongTag(resp.Header.Get("ETag"))}, nil
}

// strongTag returns an ETag by which an answer is the same to the byte, "" for another:
// a weak one may stay when the content changes (RFC 9110, section 8.8.1), so it is read
// and compared.
func strongTag(tag string) string {
	if strings.HasPrefix(tag, "W/") {
		return ""
	}
	return tag
}
