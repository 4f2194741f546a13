// `libra up`: the platform in the foreground until Ctrl-C, or in the background with --detach.

import { isFailure } from '../../lib/failure.ts';
import type { Command } from '../command.ts';
import type { LocalAddresses } from '../local-platform.ts';
import { formatDuration } from '../output.ts';

export const up: Command = {
  summary: 'Start the platform on this machine.',
  details:
    'In the foreground until Ctrl-C, which stops it and its Instances cleanly; the next start brings them back. With --detach it goes on in the background.',
  example: 'libra up --detach',
  scope: 'platform',
  outlivesOutput: true,
  options: (local) => [
    { name: 'detach', short: 'd', help: 'leave it running in the background' },
    { name: 'example', help: 'deploy examples/hello if nothing is deployed yet' },
    ...local.upOptions,
  ],
  run: async (input, context) => {
    const { output, local } = context;
    const flags: Record<string, string | undefined> = {};
    for (const option of local.upOptions) {
      const given = input.options[option.name];
      if (typeof given === 'string') flags[option.name] = given;
    }
    const began = performance.now();
    const announce = async (addresses: LocalAddresses): Promise<void> => {
      output.progress('');
      output.line(`Libra ${addresses.version} is up (${formatDuration(performance.now() - began)}).`);
      if (addresses.node !== undefined) output.line(`  Node  ${addresses.node}`);
      output.line(`  API   ${addresses.api}`);
      if (addresses.apps !== '') output.line(`  ${addresses.node === undefined ? 'Apps' : 'Edge'}  ${addresses.apps}`);
      if (addresses.warning !== undefined) output.warn(addresses.warning);
      if (input.options['example'] === true) await (await import('./up-example.ts')).deployExample(context);
      output.value({ ...addresses, detached: input.options['detach'] === true });
    };
    const onProgress = (message: string): void => output.progress(`${message} …`);

    if (input.options['detach'] === true) {
      const running = await local.running();
      if (running !== null) {
        output.line(`Libra ${running.version} is running already (process ${running.pid}).`);
        output.value({ ...running, detached: true });
        return 0;
      }
      await announce(await local.startInBackground(flags, { onProgress }));
      output.note(output.style('dim', "It runs in the background. 'libra down' stops it."));
      return 0;
    }

    const onInterrupt = (): void => output.note('Stopping … Ctrl-C again leaves at once; what still runs is taken up at the next start.');
    context.signal.addEventListener('abort', onInterrupt, { once: true });
    let announced: Promise<void> = Promise.resolve();
    let announceError: unknown = null;
    await local.run(flags, {
      signal: context.signal,
      onProgress,
      onReady: (addresses) => {
        announced = announce(addresses)
          .then(() => output.note(output.style('dim', 'Ctrl-C stops the platform.')))
          .catch((error: unknown) => {
            announceError = error;
            if (isFailure(error) && !context.signal.aborted) output.fail(error);
          });
      },
    });
    await announced;
    if (context.signal.aborted) {
      output.note('Stopped.');
      return 0;
    }
    if (announceError !== null && !isFailure(announceError)) throw announceError;
    return 0;
  },
};
