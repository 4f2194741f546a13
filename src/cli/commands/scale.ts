// `libra scale`: how many Instances an Entrypoint shall have.

import { Failure } from '../../lib/failure.ts';
import type { Command } from '../command.ts';

export const scale: Command = {
  summary: 'Set how many Instances Entrypoints have; stays in force over later deploys. Without arguments: show.',
  example: 'libra scale web=4 worker=2 --app shop',
  arguments: [
    {
      name: 'entrypoints',
      help: 'entrypoint=number, or entrypoint=manifest to go back to what the manifest says',
      required: false,
      variadic: true,
    },
  ],
  run: async (input, context) => {
    const { output } = context;
    const wanted: Record<string, number | null> = {};
    for (const word of input.arguments['entrypoints'] ?? []) {
      const match = /^([a-z0-9-]{1,30})=(\d{1,4}|manifest)$/u.exec(word);
      if (match?.[1] === undefined || match[2] === undefined)
        throw new Failure('invalid_input', {
          message: `${JSON.stringify(word)} is not entrypoint=number.`,
          hint: 'Such as: libra scale web=2',
        });
      wanted[match[1]] = match[2] === 'manifest' ? null : Number(match[2]);
    }
    const client = await context.client();
    const params = { app: await context.app(), environment: context.environment };
    const view =
      Object.keys(wanted).length === 0
        ? await client.environments.get({ params })
        : await client.environments.scale({ params, body: { entrypoints: wanted } });
    output.table(
      ['ENTRYPOINT', 'WANTED', 'HEALTHY', 'FROM'],
      view.entrypoints
        .filter((entry) => entry.run === 'service')
        .map((entry) => [
          entry.name,
          String(entry.wanted),
          String(entry.healthy),
          entry.source === 'override' ? 'libra scale' : entry.source,
        ]),
    );
    output.value(view.entrypoints);
    return 0;
  },
};
