// Changed values and Secrets reach Instances by a Deployment of their own; the verbs that change them share this.

import { newToken } from '../lib/id.ts';
import type { CommandContext } from './command.ts';
import { deploymentResult, followDeployment } from './follow-deployment.ts';
import type { DeploymentResult } from './follow-deployment.ts';

/** Brings values to the Instances where something runs and the caller wants it; says so where not. Resolves with what to print as JSON. */
export async function deployValues(context: CommandContext, wanted: boolean): Promise<DeploymentResult | null> {
  const { output } = context;
  const client = await context.client();
  const params = { app: await context.app(), environment: context.environment };
  const environment = await client.environments.get({ params });
  if (environment.stable === null || environment.stopped || !wanted) {
    output.note(
      environment.stable === null
        ? 'Nothing runs yet; the first Deployment brings it.'
        : environment.stopped
          ? 'The Environment is stopped; the next Deployment brings it.'
          : 'The next Deployment brings it to the Instances.',
    );
    return null;
  }
  const first = await client.deployments.create({ params, body: { cause: 'config' }, idempotencyKey: newToken('config') });
  output.line(`${first.app} → ${first.environment}: Deployment ${first.number} brings the new values`);
  return deploymentResult(await followDeployment(context, first));
}
