// `libra plan`: what a deploy of this folder would change. Nothing is done.

import { canaryOption, CANARY_OPTIONS } from '../canary-options.ts';
import type { Command } from '../command.ts';
import { readSource } from '../deploy-source.ts';
import { printPlan, printRoutes, refuseIfNeeded } from '../plan-view.ts';

export const plan: Command = {
  summary: 'Show what deploying a folder would change, and whether it can be done. Changes nothing.',
  example: 'libra plan path/to/folder',
  arguments: [{ name: 'folder', help: 'folder to look at; default: this one', required: false }],
  options: [
    { name: 'yes', short: 'y', help: 'never ask' },
    { name: 'reset', help: 'plan without what libra scale has set' },
    ...CANARY_OPTIONS,
  ],
  run: async (input, context) => {
    const { output } = context;
    const canary = canaryOption(input);
    const source = await readSource(context, input.arguments['folder']?.[0], {
      yes: input.options['yes'] === true || !output.interactive,
    });
    const client = await context.client();
    const view = await client.plans.create({
      body: {
        environment: context.environment,
        manifest: source.manifestText,
        reset: input.options['reset'] === true,
        ...(canary === undefined ? {} : { canary }),
      },
    });
    output.line(`${output.style('bold', view.app)} → ${view.environment}`);
    printPlan(output, view);
    printRoutes(output, view.routes);
    output.value(view);
    refuseIfNeeded(view);
    return 0;
  },
};
