// What the tests synthesize: each construct with the parameters that EGRESS_PARAMETERS has for
// its template, as JSON, and a function that is attested by what EGRESS_LAYER and its like say.
'use strict';

const cdk = require('aws-cdk-lib');
const lambda = require('aws-cdk-lib/aws-lambda');
const egress = require('../lib/egress');

const given = JSON.parse(process.env.EGRESS_PARAMETERS);
const app = new cdk.App();
for (const [template, construct] of Object.entries({
  'store.yaml': egress.EgressStore, 'network.yaml': egress.EgressNetwork, 'proxy.yaml': egress.EgressProxy, 'watch.yaml': egress.EgressWatch,
  'dns-firewall.yaml': egress.EgressDnsFirewall,
})) {
  const stack = new cdk.Stack(app, template.replace('.yaml', ''));
  const made = new construct(stack, 'Egress', given[template]);
  if (made.environment) {
    const variables = made.environment({ policyName: 'sample', tokenSecretArn: 'arn:secret', tokenVersion: '1' });
    for (const [name, value] of Object.entries(variables)) {
      new cdk.CfnOutput(stack, `Variable${name.replace('_', '0')}`, { value });
    }
    const fn = new lambda.Function(new cdk.Stack(app, 'attested'), 'Function', {
      runtime: lambda.Runtime.PYTHON_3_13, handler: 'index.handler', code: lambda.Code.fromInline('def handler(event, context): pass'),
    });
    made.attest(fn, { layerArn: process.env.EGRESS_LAYER, audience: process.env.EGRESS_AUDIENCE, ca: process.env.EGRESS_CA });
  }
}
