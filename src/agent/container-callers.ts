// Which Instance an address in the networks of containers is, for the API Proxy of this machine, which listens in each of them: there the
// network says who calls, so that a program need not. A file that is replaced whenever a container comes or goes.

import type { ContainerNetwork, Driver } from '../driver/contract.ts';
import type { Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/failure.ts';
import { startLoop } from '../lib/loop.ts';
import { replaceFileSync } from '../sys/durable-file.ts';
import type { Log } from '../sys/log.ts';

export interface ContainerCallers {
  /** Containers may have come or gone. */
  look(): void;
  stop(): Promise<void>;
}

export interface ContainerCallersDeps {
  readonly drivers: readonly Driver[];
  readonly file: string;
  /** Where the token of the Instance is; null: it has none, or there is no such Instance. */
  readonly tokenFile: (instanceId: string) => string | null;
  readonly clock: Clock;
  readonly log: Log;
}

/** What nobody tells us of, such as a Docker that was started anew, is seen then. */
const LOOK_EVERY_MS = 15_000;
const RETRY_MS = 1_000;

/** null: no driver has networks of its own. */
export function startContainerCallers({ drivers, file, tokenFile, clock, log }: ContainerCallersDeps): ContainerCallers | null {
  const having = drivers.flatMap((driver) => (driver.containerNetworks === undefined ? [] : [driver.containerNetworks]));
  if (having.length === 0) return null;
  let written: string | null = null;
  const entryOf = ({ gateway, keys }: ContainerNetwork): unknown => ({
    gateway,
    tokens: Object.fromEntries(
      Object.entries(keys).flatMap(([address, key]) => {
        const token = tokenFile(key.slice(0, key.lastIndexOf('.')));
        return token === null ? [] : [[address, token]];
      }),
    ),
  });
  const loop = startLoop({
    clock,
    everyMs: LOOK_EVERY_MS,
    errorDelayMs: RETRY_MS,
    onError: (error) => log.warn({ error: messageOf(error) }, 'the API Proxy is not told which containers there are; it is tried again'),
    run: async () => {
      const networks = (await Promise.all(having.map((networksOf) => networksOf()))).flat();
      const text = `${JSON.stringify({ networks: networks.map(entryOf) })}\n`;
      if (text === written) return;
      replaceFileSync(file, text);
      written = text;
    },
  });
  return { look: () => loop.wake(), stop: () => loop.stop() };
}
