// `libra rollback`: a new Deployment made from an older one.

import { Failure } from '../../lib/failure.ts';
import { newToken } from '../../lib/id.ts';
import type { Command } from '../command.ts';
import { deploymentResult, followDeployment } from '../follow-deployment.ts';

export const rollback: Command = {
  summary: 'Bring back an earlier Deployment, with the values and secrets that it had.',
  details:
    'Without a number: the last one that succeeded before the one that serves. Before-deploy Entrypoints are skipped unless asked for.',
  example: 'libra rollback 12 --app shop',
  arguments: [{ name: 'deployment', help: 'number of the Deployment, from libra deployments', required: false }],
  options: [{ name: 'before-deploy', help: 'run the before-deploy Entrypoints too' }],
  run: async (input, context) => {
    const { output } = context;
    const text = input.arguments['deployment']?.[0];
    if (text !== undefined && !/^[1-9]\d{0,8}$/u.test(text))
      throw new Failure('invalid_input', { message: `${JSON.stringify(text)} is no number of a Deployment.`, hint: 'libra deployments' });
    const client = await context.client();
    const deployment = await client.deployments.create({
      params: { app: await context.app(), environment: context.environment },
      body: { cause: 'rollback', to: text === undefined ? null : Number(text), beforeDeploy: input.options['before-deploy'] === true },
      idempotencyKey: newToken('rollback'),
    });
    output.line(
      `${deployment.app} → ${deployment.environment}: Deployment ${deployment.number} brings back Release ${deployment.release} of Deployment ${deployment.fromNumber ?? '?'}`,
    );
    const view = await followDeployment(context, deployment);
    output.value(deploymentResult(view));
    output.line(view.url ?? `Deployment ${view.number} is done.`);
    return 0;
  },
};
