// `libra store`: what is done to the store while no platform uses it.

import type { Command } from '../command.ts';
import { textOption } from '../options.ts';
import { counted } from '../output.ts';

export const storeMigrate: Command = {
  summary: 'Copy the store of the local data folder into an empty one, such as an etcd cluster, or back.',
  details: 'The platform has to be stopped. Every entry is compared afterwards; the store that was copied stays as it is.',
  example: 'libra store migrate etcd://10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379/libra',
  scope: 'platform',
  arguments: [{ name: 'to', help: 'sqlite, or an etcd cluster as --store of libra up has it', required: true }],
  options: [{ name: 'from', value: 'engine', help: 'default: LIBRA_STORE, else sqlite' }],
  run: async (input, context) => {
    const { output, local } = context;
    const to = input.arguments['to']?.[0] ?? '';
    const copied = await local.migrateStore(
      { from: textOption(input, 'from'), to },
      { onProgress: (count) => output.progress(`Copying … ${count}`) },
    );
    output.line(`Copied ${counted(copied, 'record')}; each was compared. Start with: libra up --store ${to}`);
    output.value({ copied, to });
    return 0;
  },
};
