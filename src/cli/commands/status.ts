// `libra status`: one look at the whole platform.

import type { Command } from '../command.ts';
import { flagOption } from '../options.ts';
import { counted, formatAge, formatDuration } from '../output.ts';

export const status: Command = {
  summary: 'Show the platform: version, addresses, counts, and what it warns of.',
  example: 'libra status',
  scope: 'platform',
  options: [{ name: 'loops', help: 'the background loops of the control plane too' }],
  run: async (input, context) => {
    const { output } = context;
    const reply = await (await context.client()).system.status();
    output.line(`Libra ${reply.version}, up for ${formatAge(context.clock.now() - reply.startedAtMs)}; domain ${reply.domain}`);
    for (const [role, address] of Object.entries(reply.addresses)) output.line(`  ${role.padEnd(10)} ${address}`);
    output.line(`  ${'store'.padEnd(10)} ${reply.store.engine}, revision ${reply.store.revision}`);
    if (reply.controls.length > 1) {
      const says = reply.controls.map(({ name, url, leads }) => `${name} (${url ?? 'no address'}${leads ? ', leads' : ''})`);
      output.line(`  ${'control'.padEnd(10)} ${says.join(', ')}`);
    }
    output.line(
      `${counted(reply.counts.apps, 'App')}, ${counted(reply.counts.instances, 'Instance')}, ${counted(reply.counts.nodes, 'Node')}, ${reply.edges.filter((edge) => edge.current).length} of ${reply.edges.length} Edges current`,
    );
    if (flagOption(input, 'loops')) {
      output.line();
      output.table(
        ['LOOP', 'RUNS', 'LAST TOOK', 'LAST ERROR'],
        reply.reconcilers.map((loop) => [
          loop.name,
          String(loop.runs),
          loop.lastDurationMs === null ? '' : formatDuration(loop.lastDurationMs),
          loop.lastError ?? '',
        ]),
      );
    } else {
      for (const loop of reply.reconcilers) if (loop.lastError !== null) output.warn(`The loop ${loop.name} fails: ${loop.lastError}`);
    }
    for (const notice of reply.notices) output.line(notice);
    for (const warning of reply.warnings) output.warn(warning);
    output.value(reply);
    return 0;
  },
};
