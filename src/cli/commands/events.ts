// `libra events`: what happened.

import type { ReplyOf } from '../../api/endpoint.ts';
import type { ApiTable } from '../../api/table.ts';
import type { Command } from '../command.ts';
import { numberOption } from '../options.ts';
import { printable } from '../output.ts';
import type { Output } from '../output.ts';

type EventView = ReplyOf<ApiTable['events']['list']>['items'][number];

function print(output: Output, event: EventView): void {
  output.value(event);
  const where = event.app === null ? '' : ` ${event.app}${event.environment === null ? '' : `/${event.environment}`}`;
  const level = event.level === 'info' ? '' : ` ${output.style(event.level === 'error' ? 'red' : 'yellow', event.level)}`;
  output.line(
    `${new Date(event.atMs).toISOString()}${level}${where} ${output.style('dim', event.kind)} ${printable(event.message)}${event.runbook === null ? '' : ` (docs/runbooks/${event.runbook}.md)`}`,
  );
}

export const events: Command = {
  summary: 'Print what happened, oldest first, one JSON value a line with --json; --follow goes on.',
  example: 'libra events --app shop --follow',
  scope: 'app',
  options: [
    { name: 'follow', short: 'f', help: 'go on with what comes' },
    { name: 'limit', short: 'n', value: 'number', help: 'begin with the last ones; default 50' },
  ],
  run: async (input, context) => {
    const { output } = context;
    const client = await context.client();
    const app = context.appFlag === null ? {} : { app: context.appFlag };
    const limit = numberOption(input, 'limit', { min: 1, max: 500, default: 50 });
    const follow = input.options['follow'] === true ? client.events.follow({ query: app, signal: context.signal }) : null;
    const before = await client.events.list({ query: { limit, ...app } });
    const seen = new Set(before.items.map((event) => event.id));
    for (const event of before.items.toReversed()) print(output, event);
    if (follow === null) return 0;
    try {
      for await (const event of follow) if (!seen.has(event.id)) print(output, event);
    } catch (error) {
      if (!context.signal.aborted) throw error;
    }
    return context.signal.aborted ? 130 : 0;
  },
};
