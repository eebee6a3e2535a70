package daemon

import (
	"fmt"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/emf"
)

// newEMF makes what prints metrics beside the records; nil where none are asked
// for. Records that go to a file leave standard output to the metrics.
func (p *program) newEMF(o *Options) (*emf.Printer, error) {
	if o.EMF == 0 {
		return nil, nil
	}
	out := p.audit
	if p.cfg.Audit.Output != "" {
		var err error
		if out, err = audit.Open("stdout", audit.Options{Logger: p.log}); err != nil {
			return nil, fmt.Errorf("--emf: %w", err)
		}
	}
	return emf.New(emf.Options{
		Every: o.EMF, Gatherer: p.reg, Print: out.WriteRaw, Log: p.log, Functions: o.Functions, Deployment: o.Deployment,
	}), nil
}
