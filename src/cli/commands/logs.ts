// `libra logs`: output of Instances, merged by time.

import type { Command } from '../command.ts';
import { flagOption, momentOption, numberOption, textOption } from '../options.ts';
import { printable } from '../output.ts';
import type { Style } from '../output.ts';

const MOST_LINES = 10_000;
const COLORS: readonly Style[] = ['cyan', 'green', 'yellow', 'bold'];

export const logs: Command = {
  summary: 'Print the output of Instances, oldest first; --follow goes on.',
  example: 'libra logs --app shop --follow --entrypoint web',
  options: [
    { name: 'follow', short: 'f', help: 'go on with what comes, and with Instances that start later' },
    { name: 'tail', short: 'n', value: 'lines', help: 'begin with the last lines; default 100' },
    { name: 'entrypoint', value: 'name', help: 'only Instances of this Entrypoint' },
    { name: 'instance', value: 'id', help: 'only this one: its id or the beginning of it; ended, build and one-off Instances too' },
    {
      name: 'since',
      value: 'time',
      help: 'only lines from then on: 10m (ago), or 2026-11-27T08:00Z; the last 10,000 of them unless --tail says otherwise',
    },
    { name: 'until', value: 'time', help: 'only lines until then' },
    { name: 'grep', value: 'pattern', help: 'only lines in which it occurs (RE2 syntax); (?i) in front ignores case' },
    { name: 'timestamps', help: 'begin each line with its time (UTC)' },
    { name: 'raw', help: 'lines as they are, without a prefix' },
  ],
  run: async (input, context) => {
    const { output } = context;
    const client = await context.client();
    const entrypoint = textOption(input, 'entrypoint');
    const instance = textOption(input, 'instance');
    const now = context.clock.now();
    const since = momentOption(input, 'since', now);
    const until = momentOption(input, 'until', now);
    const grep = textOption(input, 'grep');
    const lines = client.instances.logs({
      params: { app: await context.app(), environment: context.environment },
      query: {
        tail: numberOption(input, 'tail', { min: 0, max: MOST_LINES, default: since === null ? 100 : MOST_LINES }),
        follow: flagOption(input, 'follow'),
        ...(since === null ? {} : { since }),
        ...(until === null ? {} : { until }),
        ...(grep === null ? {} : { grep }),
        ...(entrypoint === null ? {} : { entrypoint }),
        ...(instance === null ? {} : { instance }),
      },
      signal: context.signal,
    });
    try {
      for await (const line of lines) {
        output.value(line);
        const color = COLORS[line.slot % COLORS.length] ?? 'cyan';
        const prefix = input.options['raw'] === true ? '' : `${output.style(color, `${line.entrypoint}.${line.slot}`)} `;
        const time = flagOption(input, 'timestamps') ? `${output.style('dim', new Date(line.atMs).toISOString())} ` : '';
        output.line(`${time}${prefix}${printable(line.text)}`);
      }
    } catch (error) {
      if (!context.signal.aborted) throw error;
    }
    return context.signal.aborted ? 130 : 0;
  },
};
