// `libra deployments`: what was brought in, and how it went.

import { Failure } from '../../lib/failure.ts';
import type { Command } from '../command.ts';
import { canaryLines } from '../canary-view.ts';
import { deploymentResult, followDeployment } from '../follow-deployment.ts';
import { numberOption } from '../options.ts';
import { formatAge, formatDuration, printable } from '../output.ts';

export const deployments: Command = {
  summary: 'List the Deployments of an Environment, newest first; with a number, show one with its log.',
  example: 'libra deployments 12 --app shop',
  arguments: [{ name: 'deployment', help: 'number of one', required: false }],
  options: [
    { name: 'limit', value: 'number', help: 'how many; default 20' },
    { name: 'follow', short: 'f', help: 'with a number: follow it to its end' },
    { name: 'cancel', help: 'with a number: take an unfinished one back' },
  ],
  run: async (input, context) => {
    const { output } = context;
    const client = await context.client();
    const app = await context.app();
    const number = input.arguments['deployment']?.[0];
    const now = context.clock.now();
    if (number === undefined) {
      const reply = await client.deployments.list({
        params: { app, environment: context.environment },
        query: { limit: numberOption(input, 'limit', { min: 1, max: 500, default: 20 }) },
      });
      output.table(
        ['DEPLOYMENT', 'RELEASE', 'LABEL', 'CAUSE', 'STATE', 'TOOK', 'BY', 'AGE'],
        reply.items.map((view) => [
          `${view.number}${view.stable ? ' *' : ''}`,
          String(view.release),
          view.label ?? '',
          view.cause,
          view.phase +
            (view.phase === 'canary' ? ` ${view.canary?.percentInForce ?? 0} %` : '') +
            (view.reason === null || view.reason.code === view.phase ? '' : ` (${view.reason.code})`),
          view.endedAtMs === null ? '' : formatDuration(view.endedAtMs - view.createdAtMs),
          view.createdBy,
          formatAge(now - view.createdAtMs),
        ]),
      );
      output.value(reply.items);
      return 0;
    }
    if (!/^[1-9]\d{0,8}$/u.test(number))
      throw new Failure('invalid_input', {
        message: `${JSON.stringify(number)} is no number of a Deployment.`,
        hint: 'libra deployments lists them.',
      });
    const params = { app, environment: context.environment, deployment: number };
    if (input.options['cancel'] === true) {
      const canceled = await client.deployments.cancel({ params });
      output.line(`Deployment ${canceled.number} is being taken back; what ran before runs on.`);
      output.value(deploymentResult(canceled));
      return 0;
    }
    const view = await client.deployments.get({ params });
    if (input.options['follow'] === true) {
      const last = await followDeployment(context, view);
      output.value(deploymentResult(last));
      output.line(last.url ?? `Deployment ${last.number} of ${last.app} is done.`);
      return 0;
    }
    output.line(
      `${view.app} → ${view.environment}, Deployment ${view.number} of Release ${view.release}: ${view.phase}${view.stable ? ', serves' : ''}`,
    );
    if (view.canary !== null) for (const line of canaryLines(view.canary, now)) output.line(`  ${line}`);
    for (const entry of view.log) output.line(`  ${new Date(entry.atMs).toISOString()}  ${printable(entry.message)}`);
    if (view.reason !== null) {
      output.line(`  ${view.reason.code}: ${printable(view.reason.message)}`);
      for (const line of view.reason.lastLines) output.line(`    ${printable(line)}`);
      if (view.reason.hint !== null) output.line(`  next: ${printable(view.reason.hint)}`);
    }
    output.value(view);
    return 0;
  },
};
