// Constructs of the stacks in ../../ecs. Each includes its template, which so stays the one
// source of truth: every resource is there under the name that it has in the template.
'use strict';

const path = require('node:path');
const { CfnInclude } = require('aws-cdk-lib/cloudformation-include');
const { Construct } = require('constructs');

// Egress is a template with its parameters. The properties are the parameters of the template
// by their names; one that is not given stays a parameter of the stack, with its default.
class Egress extends Construct {
  constructor(scope, id, template, props = {}) {
    super(scope, id);
    const { preserveLogicalIds = true, ...parameters } = props;
    this.template = new CfnInclude(this, 'Template', {
      templateFile: path.join(__dirname, '..', '..', 'ecs', template),
      parameters,
      preserveLogicalIds,
    });
  }

  // output returns an output of the template: what other stacks need of this one.
  output(name) {
    return this.template.getOutput(name).value;
  }
}

class EgressStore extends Egress {
  constructor(scope, id, props) {
    super(scope, id, 'store.yaml', props);
  }
}

class EgressNetwork extends Egress {
  constructor(scope, id, props) {
    super(scope, id, 'network.yaml', props);
  }
}

class EgressProxy extends Egress {
  constructor(scope, id, props) {
    super(scope, id, 'proxy.yaml', props);
  }

  // environment returns the variables that put a function behind the proxy. The token stays in
  // Secrets Manager until the function is deployed.
  environment({ policyName, tokenSecretArn, tokenVersion }) {
    const url = `http://${policyName}:{{resolve:secretsmanager:${tokenSecretArn}:SecretString:::${tokenVersion}}}@${this.output('ProxyHost')}:3128`;
    const direct = '127.0.0.1,localhost,169.254.100.1';
    return { HTTPS_PROXY: url, https_proxy: url, HTTP_PROXY: url, http_proxy: url, NO_PROXY: direct, no_proxy: direct };
  }
}

class EgressWatch extends Egress {
  constructor(scope, id, props) {
    super(scope, id, 'watch.yaml', props);
  }
}

class EgressDnsFirewall extends Egress {
  constructor(scope, id, props) {
    super(scope, id, 'dns-firewall.yaml', props);
  }
}

module.exports = { EgressStore, EgressNetwork, EgressProxy, EgressWatch, EgressDnsFirewall };
