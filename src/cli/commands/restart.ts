// `libra restart`: new Instances of what runs, one by one.

import { newToken } from '../../lib/id.ts';
import type { Command } from '../command.ts';
import { deploymentResult, followDeployment } from '../follow-deployment.ts';

export const restart: Command = {
  summary: 'Replace all Instances by new ones of the same version, without losing a request.',
  example: 'libra restart --app shop',
  run: async (_input, context) => {
    const { output } = context;
    const client = await context.client();
    const first = await client.deployments.create({
      params: { app: await context.app(), environment: context.environment },
      body: { cause: 'restart' },
      idempotencyKey: newToken('restart'),
    });
    const view = await followDeployment(context, first);
    output.value(deploymentResult(view));
    output.line(view.url ?? `Restarted ${view.app}.`);
    return 0;
  },
};
