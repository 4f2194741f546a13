// `libra stats`: what Instances and Nodes took over time.

import type { Command } from '../command.ts';
import { textOption } from '../options.ts';
import { printable } from '../output.ts';
import { spanOf, spanOptions, usageCells, usageHeadings } from '../usage-view.ts';

export const stats: Command = {
  summary: 'Show what Instances take and took: CPU, memory, network, disk.',
  details:
    'Steps of ten seconds are kept for an hour, of five minutes for two days, on the Node of the Instance. Figures are of the last step; the highest bar is the most of its row. An empty cell could not be told.',
  example: 'libra stats --app shop --since 6h',
  options: [
    { name: 'entrypoint', value: 'name', help: 'only Instances of this Entrypoint' },
    { name: 'instance', value: 'id', help: 'only this one: its id or the beginning of it; ended ones too' },
    ...spanOptions,
  ],
  run: async (input, context) => {
    const { output } = context;
    const client = await context.client();
    const span = spanOf(input, context.clock.now());
    const entrypoint = textOption(input, 'entrypoint');
    const instance = textOption(input, 'instance');
    const reply = await client.instances.stats({
      params: { app: await context.app(), environment: context.environment },
      query: {
        since: span.sinceMs,
        until: span.untilMs,
        ...(entrypoint === null ? {} : { entrypoint }),
        ...(instance === null ? {} : { instance }),
      },
    });
    output.table(
      ['INSTANCE', 'ENTRYPOINT', 'NODE', ...usageHeadings],
      reply.items.map((item) => [
        item.instance.slice(0, 13),
        `${item.entrypoint}.${item.slot}`,
        item.node,
        ...usageCells(item, span, context.streams.output),
      ]),
    );
    for (const { node, message } of reply.missing) output.warn(`Nothing is known from Node ${node}: ${printable(message)}`);
    output.value(reply);
    return reply.items.length === 0 && reply.missing.length > 0 ? 1 : 0;
  },
};

export const nodesStats: Command = {
  summary: 'Show what the machines take and took as a whole: CPU, memory, network, disk.',
  example: 'libra nodes stats --since 1d',
  scope: 'platform',
  arguments: [{ name: 'node', help: 'name of the Node; default: all', required: false }],
  options: spanOptions,
  run: async (input, context) => {
    const { output } = context;
    const client = await context.client();
    const span = spanOf(input, context.clock.now());
    const query = { since: span.sinceMs, until: span.untilMs };
    const named = input.arguments['node']?.[0];
    const names = named === undefined ? (await client.nodes.list({ query: { limit: 500 } })).items.map(({ name }) => name) : [named];
    const asked = await Promise.allSettled(names.map(async (node) => await client.nodes.stats({ params: { node }, query })));
    const told = asked.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    const failures = asked.flatMap((one, index) => (one.status === 'rejected' ? [{ node: names[index] ?? '', cause: one.reason }] : []));
    if (told.length === 0 && failures[0] !== undefined) throw failures[0].cause;
    output.table(
      ['NODE', ...usageHeadings],
      told.map((history) => [history.node, ...usageCells(history, span, context.streams.output)]),
    );
    for (const { node, cause } of failures)
      output.warn(`Nothing is known from Node ${node}: ${printable(cause instanceof Error ? cause.message : String(cause))}`);
    output.value(told);
    return 0;
  },
};
