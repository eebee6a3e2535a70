// Constructs of the stacks in ../../ecs. Each includes its template, which so stays the one
// source of truth: every resource is there under the name that it has in the template.
'use strict';

const path = require('node:path');
const { CfnInclude } = require('aws-cdk-lib/cloudformation-include');
const { PolicyStatement } = require('aws-cdk-lib/aws-iam');
const { LayerVersion } = require('aws-cdk-lib/aws-lambda');
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

// direct are the addresses at which Lambda's Runtime API is found.
const direct = '127.0.0.1,localhost,169.254.100.1';

class EgressProxy extends Egress {
  constructor(scope, id, props) {
    super(scope, id, 'proxy.yaml', props);
  }

  // environment returns the variables that put a function behind the proxy. The token stays in
  // Secrets Manager until the function is deployed.
  environment({ policyName, tokenSecretArn, tokenVersion }) {
    const url = `http://${policyName}:{{resolve:secretsmanager:${tokenSecretArn}:SecretString:::${tokenVersion}}}@${this.output('ProxyHost')}:3128`;
    return { HTTPS_PROXY: url, https_proxy: url, HTTP_PROXY: url, http_proxy: url, NO_PROXY: direct, no_proxy: direct };
  }

  // attest puts a function behind the proxy without any secret: AWS attests who it is. The layer
  // is that of ../../lambda/layer.yaml, the audience that of the policy, and ca the path of a PEM
  // file in the function's package, where the proxy's certificate has an authority of yours. It
  // needs Tls=yes of the proxy.
  attest(fn, { layerArn, audience, ca }) {
    if (!layerArn || !audience) {
      throw new Error('attest: layerArn and audience have to be there');
    }
    fn.addLayers(LayerVersion.fromLayerVersionArn(fn, 'EgressLayer', layerArn));
    const variables = {
      NO_PROXY: direct, no_proxy: direct, AWS_LAMBDA_EXEC_WRAPPER: '/opt/egress/wrapper',
      EGRESS_PROXY: `https://${this.output('ProxyHost')}:3129`, EGRESS_AUDIENCE: audience, ...(ca ? { EGRESS_CA: ca } : {}),
    };
    for (const [name, value] of Object.entries(variables)) {
      fn.addEnvironment(name, value);
    }
    fn.addToRolePolicy(new PolicyStatement({
      sid: 'Token', // of AWS, which says to the proxy who this function is
      actions: ['sts:GetWebIdentityToken'],
      resources: ['*'],
      conditions: { 'ForAllValues:StringEquals': { 'sts:IdentityTokenAudience': audience } },
    }));
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
