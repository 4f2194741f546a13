// `libra env`: values that an Environment adds to the manifest's. Values go in and never come out.

import { Failure } from '../../lib/failure.ts';
import type { Command } from '../command.ts';
import { deployValues } from '../deploy-values.ts';
import { withApp } from '../ensure-app.ts';
import { flagOption } from '../options.ts';
import { printValues } from '../value-table.ts';

export const envList: Command = {
  summary: 'List the values set with libra env set: names and versions, never the values.',
  example: 'libra env --app shop',
  run: async (_input, context) => {
    const client = await context.client();
    const reply = await client.env.list({ params: { app: await context.app(), environment: context.environment } });
    printValues(context, reply.items);
    return 0;
  },
};

export const envSet: Command = {
  summary: 'Set values and bring them to the Instances with a new Deployment.',
  details: 'Not for passwords: those are Secrets (libra secrets set), which do not stand in the history of your terminal.',
  example: 'libra env set LOG_LEVEL=debug CACHE=off --app shop',
  arguments: [{ name: 'values', help: 'NAME=value', required: true, variadic: true }],
  options: [{ name: 'no-deploy', help: 'only keep them for the next Deployment' }],
  run: async (input, context) => {
    const values: Record<string, string> = {};
    for (const word of input.arguments['values'] ?? []) {
      const at = word.indexOf('=');
      if (at < 1) throw new Failure('invalid_input', { message: `${JSON.stringify(word.slice(0, 40))} is not NAME=value.` });
      values[word.slice(0, at)] = word.slice(at + 1);
    }
    const client = await context.client();
    await withApp(context, (app) => client.env.set({ params: { app, environment: context.environment }, body: { values } }));
    context.output.line(`Set ${Object.keys(values).join(', ')}.`);
    context.output.value({ set: Object.keys(values), deployment: await deployValues(context, !flagOption(input, 'no-deploy')) });
    return 0;
  },
};

export const envUnset: Command = {
  summary: 'Unset values; what the manifest says counts again.',
  example: 'libra env unset LOG_LEVEL --app shop',
  arguments: [{ name: 'names', help: 'names of values', required: true, variadic: true }],
  options: [{ name: 'no-deploy', help: 'only keep it for the next Deployment' }],
  run: async (input, context) => {
    const names = input.arguments['names'] ?? [];
    const client = await context.client();
    await client.env.set({
      params: { app: await context.app(), environment: context.environment },
      body: { values: Object.fromEntries(names.map((name) => [name, null])) },
    });
    context.output.line(`Unset ${names.join(', ')}.`);
    context.output.value({ unset: names, deployment: await deployValues(context, !flagOption(input, 'no-deploy')) });
    return 0;
  },
};
