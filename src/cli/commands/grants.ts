// `libra grants`: what an administrator lets containers do with the machines under them.

import { Failure } from '../../lib/failure.ts';
import type { Command } from '../command.ts';
import { formatAge } from '../output.ts';

export const grants: Command = {
  summary: 'List what containers of which Apps may do with the machines that they run on.',
  example: 'libra grants',
  scope: 'platform',
  run: async (_input, context) => {
    const { items } = await (await context.client()).grants.list({ query: { limit: 500 } });
    const now = context.clock.now();
    context.output.table(
      ['GRANT', 'APP', 'ENVIRONMENT', 'MAY USE', 'SINCE', 'BY'],
      items.map((each) => [each.id, each.app, each.environment ?? 'every', each.power, formatAge(now - each.createdAtMs), each.createdBy]),
    );
    context.output.value(items);
    return 0;
  },
};

export const grantsAdd: Command = {
  summary: 'Let the containers of an App do something with the machines that they run on.',
  details:
    'privileged: all that root may do; network: the network of the machine; device:<path>; folder:<path>, to read and write; folder:<path>:ro, to read. A path stands for all below it, and is the one that links lead to in the end. Each of these can hand over the machine: grant what you would let that App do as root.',
  example: 'libra grants add shop/production folder:/srv/media:ro device:/dev/ttyUSB0',
  scope: 'platform',
  arguments: [
    { name: 'app', help: 'the App, or one Environment of it: shop, shop/production', required: true },
    { name: 'powers', help: 'what it may use', required: true, variadic: true },
  ],
  run: async (input, context) => {
    const [app = '', environment, ...rest] = (input.arguments['app']?.[0] ?? '').split('/');
    if (app === '' || environment === '' || rest.length > 0)
      throw new Failure('invalid_input', { message: 'Name an App or one Environment of it, such as shop or shop/production.' });
    const client = await context.client();
    const made: Awaited<ReturnType<typeof client.grants.create>>[] = [];
    for (const power of input.arguments['powers'] ?? []) {
      const grant = await client.grants.create({ params: { app }, body: { power, ...(environment === undefined ? {} : { environment }) } });
      context.output.line(`Containers of ${app}${environment === undefined ? '' : `/${environment}`} may use ${grant.power}.`);
      made.push(grant);
    }
    context.output.value(made);
    return 0;
  },
};

export const grantsRemove: Command = {
  summary: 'Take a grant back. What runs with it goes on until it is started the next time: libra stop ends it.',
  example: 'libra grants remove 01933b2e-7c5e-7bbd-a5a5-1f0e7b4c9d21',
  scope: 'platform',
  arguments: [{ name: 'grant', help: 'its id, as `libra grants` shows it', required: true }],
  run: async (input, context) => {
    const grant = input.arguments['grant']?.[0] ?? '';
    await (await context.client()).grants.delete({ params: { grant } });
    context.output.line('The grant was taken back; what runs with it goes on until it is started the next time.');
    context.output.value({ grant, deleted: true });
    return 0;
  },
};
