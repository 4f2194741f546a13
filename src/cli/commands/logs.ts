// `libra logs`: output of Instances, merged by time.

import type { Command } from '../command.ts';
import { flagOption, numberOption, textOption } from '../options.ts';
import { printable } from '../output.ts';
import type { Style } from '../output.ts';

const COLORS: readonly Style[] = ['cyan', 'green', 'yellow', 'bold'];

export const logs: Command = {
  summary: 'Print the output of Instances, oldest first; --follow goes on.',
  example: 'libra logs --app shop --follow --entrypoint web',
  options: [
    { name: 'follow', short: 'f', help: 'go on with what comes, and with Instances that start later' },
    { name: 'tail', short: 'n', value: 'lines', help: 'begin with the last lines; default 100' },
    { name: 'entrypoint', value: 'name', help: 'only Instances of this Entrypoint' },
    { name: 'instance', value: 'id', help: 'only this one: its id or the beginning of it; ended, build and one-off Instances too' },
    { name: 'raw', help: 'lines as they are, without a prefix' },
  ],
  run: async (input, context) => {
    const { output } = context;
    const client = await context.client();
    const entrypoint = textOption(input, 'entrypoint');
    const instance = textOption(input, 'instance');
    const lines = client.instances.logs({
      params: { app: await context.app(), environment: context.environment },
      query: {
        tail: numberOption(input, 'tail', { min: 0, max: 10_000, default: 100 }),
        follow: flagOption(input, 'follow'),
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
        output.line(`${prefix}${printable(line.text)}`);
      }
    } catch (error) {
      if (!context.signal.aborted) throw error;
    }
    return context.signal.aborted ? 130 : 0;
  },
};
