// `libra stop` and `libra start`: an Environment without Instances, and back.

import type { Command } from '../command.ts';

export const stop: Command = {
  summary: 'Stop all Instances and schedules of an Environment until libra start; requests get a page that says so.',
  example: 'libra stop --app shop --environment staging',
  run: async (_input, context) => {
    const client = await context.client();
    const view = await client.environments.stop({ params: { app: await context.app(), environment: context.environment } });
    context.output.line(
      `${view.app} ${view.name} is stopped. Start it again with: libra start --app ${view.app} --environment ${view.name}`,
    );
    context.output.value(view);
    return 0;
  },
};

export const start: Command = {
  summary: 'Start a stopped Environment again.',
  example: 'libra start --app shop --environment staging',
  run: async (_input, context) => {
    const client = await context.client();
    const view = await client.environments.start({ params: { app: await context.app(), environment: context.environment } });
    context.output.line(`${view.app} ${view.name} is starting.${view.url === null ? '' : ` ${view.url}`}`);
    context.output.value(view);
    return 0;
  },
};
