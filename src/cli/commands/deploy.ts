// `libra deploy`: a folder becomes a healthy, reachable App.

import { parseCanary } from '../../model/canary.ts';
import type { Command } from '../command.ts';
import { deploySource } from '../deploy-flow.ts';
import { readSource } from '../deploy-source.ts';
import { deploymentResult } from '../follow-deployment.ts';
import { textOption } from '../options.ts';

export const deploy: Command = {
  summary: 'Deploy a folder: plan, upload, build, roll out, and wait until it is healthy.',
  details:
    'Exits 0 only when the new version serves and the old one has finished its requests, or when a canary waits for libra promote. If it does not become healthy, the old version goes on serving, and the message names the cause.',
  example: 'libra deploy path/to/folder --environment staging',
  arguments: [
    { name: 'folder', help: 'folder with libra.yaml, or one where it is obvious how to run it; default: this one', required: false },
  ],
  options: [
    { name: 'yes', short: 'y', help: 'never ask' },
    { name: 'label', value: 'text', help: 'label of the Release; default: the git commit, where there is one' },
    { name: 'reset', help: 'drop what libra scale has set' },
    {
      name: 'canary',
      value: 'share',
      help: 'try it beside what serves: 10%, header:x-beta=1, cookie:beta, or several with commas; 0% alone: bring it up in full without requests',
    },
    { name: 'steps', value: 'list', help: 'shares with their time, promoted at the end: 5%:2m,25%:5m,50%:5m' },
    { name: 'sticky', value: 'what', help: 'one user always sees one version, known by cookie, cookie:NAME, header:NAME or address' },
    { name: 'keep', value: 'time', help: 'so long after the promotion a rollback switches back at once; default 10m for --canary 0%' },
  ],
  run: async (input, context) => {
    const { output } = context;
    const canary = parseCanary({
      canary: textOption(input, 'canary'),
      steps: textOption(input, 'steps'),
      sticky: textOption(input, 'sticky'),
      keep: textOption(input, 'keep'),
    });
    const source = await readSource(context, input.arguments['folder']?.[0], { yes: input.options['yes'] === true });
    const { gitLabel } = await import('../git-label.ts');
    const label = typeof input.options['label'] === 'string' ? input.options['label'] : await gitLabel(source.folder);
    const view = await deploySource(context, source, {
      environment: context.environment,
      label,
      reset: input.options['reset'] === true,
      canary,
      quiet: false,
    });
    output.value(deploymentResult(view));
    output.line(view.url ?? `Deployment ${view.number} of ${view.app} is done.`);
    return 0;
  },
};
