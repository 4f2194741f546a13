// The API a second time, over TLS, where machines that join and people elsewhere reach it. Its certificate is of the machines' authority
// and is renewed while it listens.

import { hostname, networkInterfaces } from 'node:os';
import type { EndpointTable } from '../api/endpoint.ts';
import { isEverywhere, outerAddress } from '../sys/own-address.ts';
import { CONTROL_NAME, machineName } from '../tunnel/identity.ts';
import type { MachineIdentity } from '../tunnel/identity.ts';
import type { Machines } from './cluster/machines.ts';
import { keepIdentity } from './kept-identity.ts';
import { createServer } from './server.ts';
import type { ServerAddress, ServerOptions, ServerTls } from './server.ts';

export interface TlsServerOptions<T extends EndpointTable> {
  readonly server: ServerOptions<T>;
  readonly machines: Machines;
  /** Of this machine. */
  readonly nodeId: string;
  readonly listen: { readonly host: string; readonly port: number };
}

export interface TlsServer {
  readonly address: ServerAddress;
  stop(): Promise<void>;
}

/** Resolves when it listens. Throws `port_taken`, `invalid_input`. */
export async function startTlsServer<T extends EndpointTable>(options: TlsServerOptions<T>): Promise<TlsServer> {
  const { machines, nodeId, listen } = options;
  const { clock, log } = options.server;
  const names = [CONTROL_NAME, machineName(nodeId, 'control'), ...namesOf(listen.host)];
  const identity = keepIdentity({
    issue: () => machines.ownIdentity(nodeId, names),
    onRenewed: (next) => server.renew(tlsOf(next)),
    clock,
    log,
  });
  const server = createServer({ ...options.server, tls: tlsOf(identity.first) });
  const address = await server.start(listen).catch(async (error: unknown) => {
    await identity.stop();
    throw error;
  });
  const reached = isEverywhere(listen.host) ? (outerAddress() ?? hostname()) : listen.host;
  return {
    address: { ...address, url: `https://${reached.includes(':') ? `[${reached}]` : reached}:${address.port}` },
    stop: async () => {
      await identity.stop();
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
