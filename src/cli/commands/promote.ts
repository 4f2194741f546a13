// `libra promote` and `libra abort`: the two ways on from a canary. Abort also takes back a Deployment that is still being rolled out.

import { Failure } from '../../lib/failure.ts';
import { parsePercent } from '../../model/canary.ts';
import type { Command, CommandContext } from '../command.ts';
import { deploymentResult, followDeployment } from '../follow-deployment.ts';
import type { DeploymentView } from '../follow-deployment.ts';
import { textOption } from '../options.ts';

/** The Deployment that is on its way. Throws `conflict` where there is none. */
async function onItsWay(
  context: CommandContext,
): Promise<{ readonly app: string; readonly environment: string; readonly deployment: string }> {
  const client = await context.client();
  const place = { app: await context.app(), environment: context.environment };
  const { candidate } = await client.environments.get({ params: place });
  if (candidate !== null) return { ...place, deployment: String(candidate) };
  throw new Failure('conflict', {
    message: `Nothing is on its way in ${place.app}/${place.environment}.`,
    hint: 'libra deployments lists what was brought in; libra rollback goes back to an earlier one.',
  });
}

export const promote: Command = {
  summary: 'Give a canary everything: the rest of its Instances come up, then the old ones leave.',
  details: 'With --to it gets that share and waits; steps with times end there. After a deploy with --canary 0% it is a switch at once.',
  example: 'libra promote --app shop',
  options: [{ name: 'to', value: 'share', help: 'only this share, such as 50%' }],
  run: async (input, context) => {
    const { output } = context;
    const text = textOption(input, 'to');
    const percent = text === null ? null : parsePercent(text);
    if (text !== null && percent === null) {
      throw new Failure('invalid_input', { message: `--to takes a share from 0% to 100%, not ${JSON.stringify(text)}.` });
    }
    const client = await context.client();
    const first = await client.deployments.promote({ params: await onItsWay(context), body: { percent } });
    const view = await followDeployment(context, first);
    output.value(deploymentResult(view));
    output.line(view.url ?? `Deployment ${view.number} of ${view.app} is promoted.`);
    return 0;
  },
};

export const abort: Command = {
  summary: 'Take back what is on its way: all requests go to the version that served before, the new Instances leave.',
  example: 'libra abort --app shop',
  run: async (_input, context) => {
    const { output } = context;
    const client = await context.client();
    const params = await onItsWay(context);
    const first = await client.deployments.cancel({ params });
    const view = await toItsEnd(context, first);
    output.value(deploymentResult(view));
    output.line(`Deployment ${view.number} of ${view.app} is taken back; what ran before serves.`);
    return 0;
  },
};

/** To be taken back is what was asked for: no failure. */
async function toItsEnd(context: CommandContext, first: DeploymentView): Promise<DeploymentView> {
  const client = await context.client();
  const params = { app: first.app, environment: first.environment, deployment: String(first.number) };
  for await (const view of client.deployments.follow({ params, signal: context.signal })) {
    context.output.progress(`  ${view.steps.findLast((step) => step.state === 'running')?.message ?? view.phase}`);
  }
  context.output.progress('');
  const last = await client.deployments.get({ params });
  if (last.phase === 'canceled') return last;
  throw new Failure('conflict', {
    message: `Deployment ${last.number} of ${last.app} was not taken back: it is ${last.phase}.`,
    hint: 'libra deployments',
  });
}
