// The stacks of ../../ecs/README.md as an app: the store, the network, the proxy and who is told of it, wired. It
// wants the image: npx cdk deploy --all --context image=REPOSITORY:v1.0.0
'use strict';

const cdk = require('aws-cdk-lib');
const { EgressStore, EgressNetwork, EgressProxy, EgressWatch } = require('../lib/egress');

const app = new cdk.App();
const name = app.node.tryGetContext('name') ?? 'egress';
const zones = app.node.tryGetContext('zones') ?? '2';

const store = new EgressStore(new cdk.Stack(app, `${name}-store`), 'Store');
const network = new EgressNetwork(new cdk.Stack(app, `${name}-network`), 'Network', { Zones: zones });
const image = app.node.tryGetContext('image');
if (image) {
  const proxy = new EgressProxy(new cdk.Stack(app, `${name}-proxy`), 'Proxy', {
    VpcId: network.output('VpcId'),
    ProxySubnets: cdk.Fn.split(',', network.output('ProxySubnets')),
    Zones: zones,
    FunctionSecurityGroupId: network.output('FunctionSecurityGroupId'),
    PolicyBucket: store.output('PolicyBucket'),
    LogGroup: store.output('LogGroup'),
    Image: image,
    ImageRepositoryArn: store.output('RepositoryArn'),
  });
  const watched = ['Deployment', 'LogGroup', 'Cluster', 'Service', 'TargetGroup', 'LoadBalancer', 'LeastTasks', 'MaximumTasks', 'FunctionMetrics'];
  new EgressWatch(new cdk.Stack(app, `${name}-watch`), 'Watch', Object.fromEntries(watched.map((of) => [of, proxy.output(of)])));
}
