// The API Proxy: the one way from an App to the Services of others and of the platform. It stands on the same core as the Edge, and is open
// to its own machine alone.

import type { Clock } from '../lib/clock.ts';
import type { Core } from '../dataplane/core.ts';
import { createFront } from '../dataplane/front.ts';
import type { Front, ListenAddress } from '../dataplane/front.ts';
import { createIdentify } from '../dataplane/identity.ts';
import { createVersions } from '../dataplane/versions.ts';
import { createAccessLog, noAccessLog } from '../proxy/access-log.ts';
import { createTrusted } from '../proxy/client-address.ts';
import type { ClientStream } from '../proxy/message.ts';
import type { Log } from '../sys/log.ts';
import type { MachineIdentity } from '../tunnel/identity.ts';
import { createTokenVerifier } from '../tunnel/instance-token.ts';
import { createBulkhead } from './bulkhead.ts';
import { createIdentifyCaller } from './callers.ts';
import { createCallHandler, UNKNOWN_CALLER } from './handler.ts';
import { createParties } from './parties.ts';
import { createInsideFronts } from './inside-fronts.ts';
import { createDecide } from './pipeline.ts';
import { createCallRecorder } from './recorder.ts';

export interface ApiProxyOptions {
  readonly listen: readonly ListenAddress[];
  /** Null: no log of calls. */
  readonly callLog: { readonly file: string; readonly fileBytes: number } | null;
  /** Where callers in containers are found, and the port at which they are served; absent: there are none. */
  readonly inside?: { readonly file: string; readonly port: number };
  /** Of this machine: what its authority signs is believed. */
  readonly identity: () => Pick<MachineIdentity, 'authorityPem'> | null;
  /** Calls that one Environment may have open. */
  readonly openPerCaller?: number;
  readonly clock: Clock;
  readonly log: Log;
}

export interface ApiProxy {
  /** After its core: listens. */
  start(): Promise<void>;
  /** Finishes what is under way, at most for `drainMs`. */
  stop(options: { readonly drainMs: number }): Promise<void>;
  addresses(): { readonly host: string; readonly port: number }[];
  /** Prometheus text. */
  metrics(): string;
}

const OPEN_PER_CALLER = 2_000;

/** On a core that is started after it was made and stopped after it. */
export function createApiProxy(options: ApiProxyOptions, core: Core): ApiProxy {
  const { clock, log, identity } = options;
  const { groups, forwarding, versionCounts, limits } = core;
  const parties = createParties();
  const nobody = createTrusted([]);
  const accessLog = options.callLog === null ? noAccessLog : createAccessLog({ ...options.callLog, clock });
  const recorder = createCallRecorder({ clock, accessLog });
  const verifier = createTokenVerifier({ authorityPem: () => identity()?.authorityPem ?? null, clock });
  const handle = createCallHandler({
    forwarding,
    groups,
    versions: createVersions(),
    versionCounts,
    identify: createIdentify({ trusted: nobody }),
    decide: createDecide({ parties, group: (id) => groups.get(id), identify: createIdentifyCaller(verifier, parties) }),
    bulkhead: createBulkhead(options.openPerCaller ?? OPEN_PER_CALLER),
    recorder,
    clock,
  });
  const frontAt = (listen: readonly ListenAddress[], onExchange: (client: ClientStream) => void): Front =>
    createFront({
      listen,
      // Apps of one machine all come from one address.
      limits: { ...limits, connectionsPerAddress: limits.connections },
      deadlines: forwarding.deadlines,
      clock,
      trusted: nobody,
      proxied: nobody,
      h2c: true,
      onExchange,
      onRefused: (status, why, address) => recorder.refuse(status, why, address),
    });
  const front = frontAt(options.listen, (client) => handle(client, UNKNOWN_CALLER));
  // For the programs of laptops that are connected to this process, and apart from all others: a port that one of them comes from is its
  // alone only among connections to the same one, and the kernel gives it to others that go elsewhere.
  const sessionFront = frontAt([{ host: '127.0.0.1', port: 0 }], (client) =>
    handle(client, { token: null, session: core.sessionCalls.callerOf(client.connection) }),
  );
  core.use({ change: (change) => parties.change(change) });
  const { inside } = options;
  const fronts = inside === undefined ? null : createInsideFronts({ inside, clock, log, handle, frontAt });

  return {
    start: async () => {
      await front.start();
      fronts?.start();
      await sessionFront.start();
      const [own] = sessionFront.addresses();
      if (own !== undefined) core.sessionCalls.listensOn(own.port);
      log.info({ addresses: front.addresses() }, 'the API Proxy is listening');
    },
    stop: async (asked) => {
      await Promise.all([front.stop(asked), sessionFront.stop(asked), fronts?.stop(asked)]);
      await accessLog.stop();
    },
    addresses: () => front.addresses(),
    metrics: () =>
      recorder.metrics.text(
        [
          {
            name: 'libra_apiproxy_connections',
            help: 'Open connections of Apps.',
            value: front.connections() + sessionFront.connections(),
          },
        ],
        [{ name: 'libra_apiproxy_log_lines_lost_total', help: 'Lines that the log of calls could not take.', value: accessLog.lost() }],
      ),
  };
}
