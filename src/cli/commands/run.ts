// `libra run`: a command as one-off Instances, followed to their end.

import { newToken } from '../../lib/id.ts';
import type { Command } from '../command.ts';
import { exitCodeOf } from '../call-socket.ts';
import { followRun } from '../follow-run.ts';
import type { Run } from '../follow-run.ts';
import { flagOption, numberOption, textOption } from '../options.ts';
import { counted, printable } from '../output.ts';
import type { Style } from '../output.ts';

const MOST = 40;
const POLL_MS = 300;
/** Many are asked about less often. */
const POLL_EACH_MS = 20;
const COLORS: readonly Style[] = ['cyan', 'green', 'yellow', 'bold'];

export const run: Command = {
  summary: 'Run a command as a one-off Instance of what serves, print its output, and exit with its code.',
  details:
    'With --count, so many run at once, spread over the Nodes; $LIBRA_SLOT tells each which one it is, from 0 on. Either all of them are started or none. Lines of output begin with the Entrypoint and the slot. The exit code is that of the first slot that failed, 0 where none did. Ctrl-C stops them all.',
  example: 'libra run --app shop -- node migrate.js',
  rest: 'command',
  options: [
    { name: 'entrypoint', value: 'name', help: 'whose variables, limits and, without a command, whose command; default web' },
    { name: 'count', short: 'n', value: 'number', help: `run it so many times at once, at most ${MOST}; default 1` },
    { name: 'detach', short: 'd', help: 'do not wait for it' },
  ],
  run: async (input, context) => {
    const { output } = context;
    const client = await context.client();
    const params = { app: await context.app(), environment: context.environment };
    const entrypoint = textOption(input, 'entrypoint');
    const count = numberOption(input, 'count', { min: 1, max: MOST, default: 1 });
    const { items } = await client.instances.run({
      params,
      body: { ...(entrypoint === null ? {} : { entrypoint }), ...(input.rest.length === 0 ? {} : { command: [...input.rest] }), count },
      idempotencyKey: newToken('run'),
    });
    if (flagOption(input, 'detach')) {
      for (const item of items) {
        output.line(item.id);
        output.value(item);
      }
      return 0;
    }
    const nameOf = ({ entrypoint: name, slot }: Pick<Run, 'entrypoint' | 'slot'>): string => `${name}.${slot}`;
    const following = items.map(async (item) => {
      const prefix = count === 1 ? '' : `${output.style(COLORS[item.slot % COLORS.length] ?? 'cyan', nameOf(item))} `;
      const ended = await followRun(item, {
        client,
        params,
        clock: context.clock,
        signal: context.signal,
        pollMs: POLL_MS + POLL_EACH_MS * (count - 1),
        onLine: (line) => {
          if (output.json) output.value(line);
          else output.raw(`${prefix}${printable(line.text)}\n`, line.stream);
        },
      });
      const { id, slot, node, phase, exit, reason } = ended;
      output.value({ instance: id, slot, node, phase, exit, reason });
      const told = toldOf(ended);
      if (told !== null) output.note(count === 1 ? told : `${nameOf(item)}: ${told}`);
      return codeOf(ended);
    });
    // One that cannot be followed any more leaves the others be.
    const results = await Promise.allSettled(following);
    if (context.signal.aborted) output.note(`Stopping ${counted(items.length, 'run')}.`);
    const lost = results.find((result) => result.status === 'rejected');
    if (lost !== undefined) throw lost.reason;
    const codes = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    if (count > 1) output.note(`${codes.filter((code) => code === 0).length} of ${count} succeeded.`);
    return codes.find((code) => code !== 0) ?? 0;
  },
};

function codeOf({ phase, exit }: Run): number {
  if (phase === 'succeeded') return 0;
  return (phase === 'failed' && exit !== null ? exitCodeOf(exit) : 1) || 1;
}

/** What is to be said of the end; null: nothing. */
function toldOf({ phase, exit, reason }: Run): string | null {
  if (phase === 'succeeded') return null;
  if (phase === 'failed' && exit !== null) return reason === null ? null : printable(reason.message);
  return `The run ended as ${phase}${reason === null ? '' : `: ${printable(reason.message)}`}`;
}
