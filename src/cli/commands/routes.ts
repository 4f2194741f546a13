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
      ['URL', 'MATCH', 'POLICY', 'ENTRYPOINT', 'INSTANCES'],
      reply.items.map((route) => [
        route.url,
        [
          ...(route.pathType === 'prefix' ? [] : [`path ${route.pathType === 'exact' ? '=' : '~'} ${route.path}`]),
          ...route.conditions,
        ].join(', '),
        route.policy.join(', '),
        route.entrypoint,
        String(route.targets),
      ]),
    );
    output.value(reply.items);
    return 0;
  },
};
