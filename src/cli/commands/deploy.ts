// `libra deploy`: a folder becomes a healthy, reachable App.

import { canaryOption, CANARY_OPTIONS } from '../canary-options.ts';
import type { Command } from '../command.ts';
import { deploySource } from '../deploy-flow.ts';
import { readSource } from '../deploy-source.ts';
import { deploymentResult } from '../follow-deployment.ts';

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
    ...CANARY_OPTIONS,
  ],
  run: async (input, context) => {
    const { output } = context;
    const canary = canaryOption(input);
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
