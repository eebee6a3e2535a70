package source

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/source/manifest"
)

// isPrefix reports whether a name of S3 is that of a folder, whose manifest says what is
// loaded. The bucket itself is none: what else is in it is not known.
func isPrefix(name string) bool {
	_, key, _ := strings.Cut(strings.TrimPrefix(name, "s3://"), "/")
	return len(key) > 1 && strings.HasSuffix(key, "/")
}

// loadPrefix reads the manifest and the policy that it names, and returns what reads the
// other files of the same manifest. A file that is replaced meanwhile is an error of it.
//
// Run looks at the manifest alone, and at files that were not as the manifest says: those
// may still come, behind it.
func (r *Remote) loadPrefix(ctx context.Context) (data []byte, read reads, err error) {
	a, err := r.request(ctx, manifest.Name, manifest.MaxBytes)
	r.remember(manifest.Name, manifest.MaxBytes, a, err)
	switch {
	case errors.Is(err, ErrMissing), errors.Is(err, ErrDenied):
		return nil, nil, fmt.Errorf("%w; write it with `proxy manifest`, and upload it last", err)
	case err != nil:
		return nil, nil, err
	}
	m, err := manifest.Parse(a.data)
	if err != nil {
		return nil, nil, err
	}
	files := ahead{remote: r, manifest: m, begun: map[string]bool{}, held: map[string]outcome{}}
	if data, err = r.checked(m, m.Main, files.single(ctx, m.Main)); err != nil {
		return nil, nil, err
	}
	r.mu.Lock()
	r.main = strings.TrimSuffix(r.name, manifest.Name) + m.Main
	r.mu.Unlock()
	return data, func(ctx context.Context, path string) ([]byte, error) {
		return r.checked(m, path, files.read(ctx, path))
	}, nil
}

// checked returns what was read of a file, where it is as the manifest names it.
func (r *Remote) checked(m *manifest.Manifest, path string, is outcome) ([]byte, error) {
	f, err := m.File(path)
	if err != nil {
		return nil, err
	}
	a, err := is.answer, is.err
	wrong := err
	switch {
	case err == nil:
		wrong = f.Check(a.data)
	case errors.Is(err, ErrTooLarge):
		wrong = fmt.Errorf("%s: %w, as %s says: %w", path, err, manifest.Name, manifest.ErrDiffers)
	case errors.Is(err, ErrMissing), errors.Is(err, ErrDenied):
		wrong = fmt.Errorf("%s is named by %s, and %w; upload all files, and %s last", path, manifest.Name, err, manifest.Name)
	}
	if wrong != nil {
		r.remember(path, f.Size, a, err)
		return nil, wrong
	}
	return a.data, nil
}
