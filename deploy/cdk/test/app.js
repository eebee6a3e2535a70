// What the tests synthesize: each construct with the parameters that EGRESS_PARAMETERS has for
// its template, as JSON.
'use strict';

const cdk = require('aws-cdk-lib');
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
  }
}
