// `libra run`: a command as a one-off Instance, followed to its end.

import { isFailure } from '../../lib/failure.ts';
import { newToken } from '../../lib/id.ts';
import type { Command } from '../command.ts';
import { exitCodeOf } from '../call-socket.ts';
import { flagOption, textOption } from '../options.ts';
import { printable } from '../output.ts';

const FINAL: ReadonlySet<string> = new Set(['stopped', 'succeeded', 'failed', 'unknown', 'lost']);
const POLL_MS = 300;

export const run: Command = {
  summary: 'Run a command as a one-off Instance of what serves, print its output, and exit with its code.',
  example: 'libra run --app shop -- node migrate.js',
  rest: 'command',
  options: [
    { name: 'entrypoint', value: 'name', help: 'whose variables, limits and, without a command, whose command; default web' },
    { name: 'detach', short: 'd', help: 'do not wait for it' },
  ],
  run: async (input, context) => {
    const { output } = context;
    const client = await context.client();
    const params = { app: await context.app(), environment: context.environment };
    const entrypoint = textOption(input, 'entrypoint');
    const first = await client.instances.run({
      params,
      body: { ...(entrypoint === null ? {} : { entrypoint }), ...(input.rest.length === 0 ? {} : { command: [...input.rest] }) },
      idempotencyKey: newToken('run'),
    });
    const one = { ...params, instance: first.id };
    if (flagOption(input, 'detach')) {
      output.line(first.id);
      output.value(first);
      return 0;
    }
    const read = new AbortController();
    const abort = (): void => read.abort();
    context.signal.addEventListener('abort', abort, { once: true });
    const printed = (async () => {
      try {
        for await (const line of client.instances.logs({
          params,
          query: { instance: first.id, tail: 10_000, follow: true },
          signal: read.signal,
        })) {
          if (output.json) output.value(line);
          else output.raw(`${printable(line.text)}\n`, line.stream);
        }
      } catch (error) {
        if (!read.signal.aborted && !isFailure(error, 'unavailable')) throw error;
      }
    })();
    // It is awaited below; until then a failure of it must not end the program.
    printed.catch(() => undefined);
    let view = first;
    try {
      while (!FINAL.has(view.phase)) {
        await context.clock.sleep(POLL_MS, context.signal);
        view = await client.instances.get({ params: one });
      }
    } catch (error) {
      if (context.signal.aborted) {
        await client.instances.stop({ params: one });
        output.note(`Stopping ${first.id.slice(0, 13)}.`);
      }
      throw error;
    } finally {
      // The stream ends by itself when the Instance has ended; a second is enough for what is still on its way.
      const cancel = context.clock.timer(view.phase === first.phase ? 0 : 2000, abort);
      await printed;
      cancel();
      context.signal.removeEventListener('abort', abort);
    }
    output.value({ instance: view.id, phase: view.phase, exit: view.exit, reason: view.reason });
    if (view.phase === 'succeeded') return 0;
    if (view.exit !== null && view.phase === 'failed') {
      if (view.reason !== null) output.note(printable(view.reason.message));
      return exitCodeOf(view.exit) || 1;
    }
    output.note(`The run ended as ${view.phase}${view.reason === null ? '' : `: ${printable(view.reason.message)}`}`);
    return 1;
  },
};
