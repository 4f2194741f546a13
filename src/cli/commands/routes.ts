// `libra routes`: which host and path leads where.

import type { Command } from '../command.ts';

export const routes: Command = {
  summary: 'List the routes of an Environment and how many Instances serve each.',
  example: 'libra routes --app shop',
  run: async (_input, context) => {
    const { output } = context;
    const client = await context.client();
    const reply = await client.environments.routes({ params: { app: await context.app(), environment: context.environment } });
    output.table(
      ['URL', 'MATCH', 'ENTRYPOINT', 'INSTANCES'],
      reply.items.map((route) => [
        route.url,
        Object.entries(route.headers)
          .map(([name, value]) => `${name}: ${value}`)
          .join(', '),
        route.entrypoint,
        String(route.targets),
      ]),
    );
    output.value(reply.items);
    return 0;
  },
};
