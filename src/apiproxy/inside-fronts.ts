// The listeners of the API Proxy inside the networks of containers: they come and go with these, and know by its address who calls.

import type { Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/failure.ts';
import type { Front, ListenAddress } from '../dataplane/front.ts';
import type { ClientObserver, ClientStream } from '../proxy/message.ts';
import type { Log } from '../sys/log.ts';
import { createContainerCallers } from './container-callers.ts';
import type { CallHandler } from './handler.ts';

export interface InsideFronts {
  start(): void;
  stop(options: { readonly drainMs: number }): Promise<void>;
}

export interface InsideFrontsDeps {
  readonly inside: { readonly file: string; readonly port: number };
  readonly clock: Clock;
  readonly log: Log;
  readonly handle: CallHandler;
  readonly frontAt: (listen: readonly ListenAddress[], onExchange: (client: ClientStream) => void) => Front;
}

/** Of a network that is gone nothing can come any more. */
const GONE_DRAIN_MS = 1_000;

export function createInsideFronts({ inside, clock, log, handle, frontAt }: InsideFrontsDeps): InsideFronts {
  const fronts = new Map<string, Front>();
  let stopping = false;

  const take = (gateway: string, client: ClientStream): void => {
    let gone = false;
    client.observe({ ...NOTHING, onClientGone: () => (gone = true) });
    // It never rejects: what cannot be read is nobody.
    void callers.token(gateway, client.connection.address).then((token) => (gone ? undefined : handle(client, { token, session: null })));
  };

  const open = async (gateway: string): Promise<void> => {
    const front = frontAt([{ host: gateway, port: inside.port, shared: true }], (client) => take(gateway, client));
    fronts.set(gateway, front);
    try {
      await front.start();
      log.info({ gateway, port: inside.port }, 'the API Proxy listens in a network of containers');
    } catch (error) {
      fronts.delete(gateway);
      log.warn({ gateway, port: inside.port, error: messageOf(error) }, 'the API Proxy cannot listen in a network of containers');
    }
  };

  const callers = createContainerCallers({
    file: inside.file,
    clock,
    log,
    onNetworks: async (gateways) => {
      if (stopping) return;
      for (const [gateway, front] of fronts) {
        if (gateways.has(gateway)) continue;
        fronts.delete(gateway);
        await front.stop({ drainMs: GONE_DRAIN_MS });
      }
      for (const gateway of gateways) if (!fronts.has(gateway)) await open(gateway);
    },
  });

  return {
    start: () => callers.start(),
    stop: async (asked) => {
      stopping = true;
      await callers.stop();
      await Promise.all([...fronts.values()].map((front) => front.stop(asked)));
    },
  };
}

const NOTHING: Omit<ClientObserver, 'onClientGone'> = {
  onBody: () => undefined,
  onBodyEnd: () => undefined,
  onClientDrain: () => undefined,
};
