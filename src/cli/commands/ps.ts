// `libra ps`: the Instances of an Environment.

import type { Command } from '../command.ts';
import { flagOption } from '../options.ts';
import { formatAge, formatBytes, printable } from '../output.ts';

export const ps: Command = {
  summary: 'List the Instances of an Environment.',
  example: 'libra ps --app shop --all',
  options: [{ name: 'all', help: 'ended ones too, while they are kept' }],
  run: async (input, context) => {
    const { output } = context;
    const client = await context.client();
    const reply = await client.instances.list({
      params: { app: await context.app(), environment: context.environment },
      query: { all: flagOption(input, 'all') },
    });
    const now = context.clock.now();
    output.table(
      ['INSTANCE', 'ENTRYPOINT', 'STATE', 'RELEASE', 'NODE', 'ADDRESS', 'RESTARTS', 'CPU', 'MEMORY', 'AGE'],
      reply.items.map((instance) => [
        instance.id.slice(0, 13),
        instance.role === 'service'
          ? `${instance.entrypoint}.${instance.slot}`
          : `${instance.entrypoint}${instance.role === 'run' ? `.${instance.slot}` : ''} (${instance.role})`,
        (instance.draining ? 'draining' : instance.phase) +
          (instance.part === 'main' || instance.draining ? '' : ` (${instance.part})`) +
          (instance.crashLoop ? ' (crash loop)' : '') +
          (instance.leftOut ? ' (left out)' : ''),
        String(instance.release),
        instance.node,
        instance.address === null ? '' : `${instance.address.host}:${instance.address.port}`,
        String(instance.restarts),
        instance.usage === null || instance.usage.cpu === null ? '' : instance.usage.cpu.toFixed(2),
        instance.usage === null ? '' : formatBytes(instance.usage.memoryBytes),
        formatAge(now - (instance.startedAtMs ?? instance.createdAtMs)),
      ]),
    );
    for (const instance of reply.items) {
      if (instance.reason !== null && !instance.healthy)
        output.note(
          `${instance.id.slice(0, 13)}: ${printable(instance.reason.message)}${instance.reason.hint === null ? '' : ` ${instance.reason.hint}`}`,
        );
    }
    const notEnforced = [...new Set(reply.items.flatMap((instance) => instance.notEnforced))];
    for (const text of notEnforced) output.note(output.style('dim', text));
    output.value(reply.items);
    return 0;
  },
};
