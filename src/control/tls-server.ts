// The API a second time, over TLS, where machines that join and people elsewhere reach it. Its certificate is of the machines' authority
// and is renewed while it listens.

import { hostname, networkInterfaces } from 'node:os';
import type { EndpointTable } from '../api/endpoint.ts';
import { messageOf } from '../lib/failure.ts';
import { startLoop } from '../lib/loop.ts';
import { isEverywhere, outerAddress } from '../sys/own-address.ts';
import type { MachineIdentity } from '../tunnel/identity.ts';
import type { Machines } from './cluster/machines.ts';
import { createServer } from './server.ts';
import type { ServerAddress, ServerOptions, ServerTls } from './server.ts';

const LOOK_EVERY_MS = 3_600_000;
const RENEW_BEFORE_MS = 15 * 86_400_000;

export interface TlsServerOptions<T extends EndpointTable> {
  readonly server: ServerOptions<T>;
  readonly machines: Machines;
  /** Of this machine. */
  readonly nodeId: string;
  readonly listen: { readonly host: string; readonly port: number };
  /** Called with what this machine shows to others, at first and whenever it is renewed. */
  readonly onIdentity: (identity: MachineIdentity) => void;
}

export interface TlsServer {
  readonly address: ServerAddress;
  stop(): Promise<void>;
}

/** Resolves when it listens. Throws `port_taken`, `invalid_input`. */
export async function startTlsServer<T extends EndpointTable>(options: TlsServerOptions<T>): Promise<TlsServer> {
  const { machines, nodeId, listen } = options;
  const { clock, log } = options.server;
  const names = namesOf(listen.host);
  let untilMs = 0;
  const fresh = (): MachineIdentity => {
    const own = machines.ownIdentity(nodeId, names);
    untilMs = own.untilMs;
    return own.identity;
  };
  const identity = fresh();
  const server = createServer({ ...options.server, tls: tlsOf(identity) });
  const address = await server.start(listen);
  options.onIdentity(identity);
  const reached = isEverywhere(listen.host) ? (outerAddress() ?? hostname()) : listen.host;
  const renewal = startLoop({
    clock,
    everyMs: LOOK_EVERY_MS,
    onError: (error) => log.error({ error: messageOf(error) }, 'the certificate of this machine cannot be renewed'),
    run: async () => {
      if (untilMs - clock.now() > RENEW_BEFORE_MS) return;
      const next = fresh();
      server.renew(tlsOf(next));
      options.onIdentity(next);
    },
  });
  return {
    address: { ...address, url: `https://${reached.includes(':') ? `[${reached}]` : reached}:${address.port}` },
    stop: async () => {
      await renewal.stop();
      await server.stop();
    },
  };
}

function tlsOf({ certificatePem, authorityPem, keyPem }: MachineIdentity): ServerTls {
  return { key: keyPem, cert: certificatePem + authorityPem, ca: authorityPem };
}

/** What people may call it by. Machines know it by a name of its own, whatever the address. */
function namesOf(host: string): readonly string[] {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address.replace(/%.*$/u, '')));
  const names = isEverywhere(host) ? ['localhost', hostname(), ...addresses] : [host];
  return [...new Set(names)].slice(0, 100);
}
