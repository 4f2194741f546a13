// `libra nodes`: the machines, and whether they take new Instances.

import type { Command } from '../command.ts';
import { formatAge, formatBytes } from '../output.ts';

export const nodes: Command = {
  summary: 'List the Nodes with what they offer and what is asked of them.',
  example: 'libra nodes',
  scope: 'platform',
  run: async (_input, context) => {
    const { output } = context;
    const reply = await (await context.client()).nodes.list({ query: { limit: 500 } });
    const now = context.clock.now();
    output.table(
      ['NODE', 'STATE', 'RUNTIME', 'DRIVERS', 'INSTANCES', 'CPU ASKED/HAS', 'MEMORY ASKED/HAS', 'SEEN'],
      reply.items.map((node) => [
        node.name,
        node.state + (node.scheduling === 'open' ? '' : `, ${node.scheduling}`),
        node.runtime,
        node.drivers.map((driver) => driver.name).join(','),
        String(node.requested.instances),
        `${node.requested.cpu.toFixed(1)}/${node.capacity.cpu}`,
        `${formatBytes(node.requested.memoryBytes)}/${formatBytes(node.capacity.memoryBytes)}`,
        node.lastSeenMs === null ? '' : formatAge(now - node.lastSeenMs),
      ]),
    );
    for (const node of reply.items) {
      for (const driver of node.drivers) {
        for (const [limit, state] of Object.entries(driver.limits))
          if (state !== 'enforced') output.note(output.style('dim', `${node.name}: ${driver.name}: ${limit} not enforced: ${state}`));
      }
    }
    output.value(reply.items);
    return 0;
  },
};

function scheduling(verb: 'cordon' | 'uncordon' | 'drain', summary: string, done: string): Command {
  return {
    summary,
    example: `libra nodes ${verb} node-1`,
    scope: 'platform',
    arguments: [{ name: 'node', help: 'name of the Node', required: true }],
    run: async (input, context) => {
      const client = await context.client();
      const view = await client.nodes[verb]({ params: { node: input.arguments['node']?.[0] ?? '' } });
      context.output.line(`${view.name} ${done}`);
      context.output.value(view);
      return 0;
    },
  };
}

export const nodesCordon: Command = scheduling('cordon', 'Place nothing new on a Node; what runs there stays.', 'takes nothing new.');
export const nodesUncordon: Command = scheduling('uncordon', 'Open a Node for placement again.', 'is open again.');
export const nodesDrain: Command = scheduling('drain', 'Move everything off a Node, without losing a request.', 'is being emptied.');
