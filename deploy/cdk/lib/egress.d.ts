import { CfnInclude } from 'aws-cdk-lib/cloudformation-include';
import { Function } from 'aws-cdk-lib/aws-lambda';
import { Construct } from 'constructs';

/** The parameters of a template, by their names; see the descriptions there. */
export interface EgressProps {
  /** Whether resources keep the names of the template. Default true; false to have two of a kind in one stack. */
  readonly preserveLogicalIds?: boolean;
  readonly [parameter: string]: string | number | boolean | string[] | undefined;
}

declare abstract class Egress extends Construct {
  readonly template: CfnInclude;
  /** An output of the template, such as VpcId of the network. */
  output(name: string): string;
}

export declare class EgressStore extends Egress {
  constructor(scope: Construct, id: string, props?: EgressProps);
}
export declare class EgressNetwork extends Egress {
  constructor(scope: Construct, id: string, props?: EgressProps);
}
export declare class EgressProxy extends Egress {
  constructor(scope: Construct, id: string, props: EgressProps);
  /** The variables that put a function behind the proxy. */
  environment(of: { policyName: string; tokenSecretArn: string; tokenVersion: string }): Record<string, string>;
  /** Puts a function behind the proxy without any secret: AWS attests who it is. It needs Tls=yes. */
  attest(fn: Function, by: { layerArn: string; audience: string; ca?: string }): void;
}
export declare class EgressWatch extends Egress {
  constructor(scope: Construct, id: string, props: EgressProps);
}
export declare class EgressDnsFirewall extends Egress {
  constructor(scope: Construct, id: string, props: EgressProps);
}
